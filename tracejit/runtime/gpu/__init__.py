"""Programs on a GPU: devices, libraries, and what runs a plan on them."""
