from tracejit.scipy.linalg.special_matrices import *
