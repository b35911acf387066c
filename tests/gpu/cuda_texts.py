"""Kernels for a GPU, as text: every statement, and the ways of a vec loop."""

KERNELS = {
    "map1": """\
kernel map1[n0](in x: f32[n0,100], in s: f32[100], out y: f32[n0,100]) narrow
  block b in n0:
    thread t in 32:
      if lt(mul(t, 4), 100):
        vec(4x1) j in mul(t, 4)..add(mul(t, 4), 4):
          u: f32 = add(x[b, j], s[j])
          y[b, j] = select(gt(u, 0.0), mul(u, logistic(u)), 0.0)
""",
    "softmax": """\
kernel softmax[n0](in x: f32[n0,1000], out y: f32[n0,1000]) narrow
  block b in n0:
    thread t in 256:
      m: f32 = -inf
      seq k in 4:
        i: i64 = add(mul(k, 256), t)
        m max= x[b, i if lt(i, 1000)]
      combine(256) max m
      s: f32 = 0.0
      seq k in 4:
        i: i64 = add(mul(k, 256), t)
        if lt(i, 1000):
          s add= exp(sub(x[b, i], m))
      combine(256) add s
      seq(unroll 4) k in 4:
        i: i64 = add(mul(k, 256), t)
        y[b, i] = div(exp(sub(x[b, i if lt(i, 1000)], m)), s) if lt(i, 1000)
""",
    "colsum": """\
kernel colsum[n0](in x: f16[n0,1024], out y: f32[1024], inout z: f32[1], in ids: i64[n0],\
     out o: f32[128])
  block b in 4:
    thread t in 32:
      vec(8x1) j in add(mul(b, 256), mul(t, 8))..add(add(mul(b, 256), mul(t, 8)), 8):
        a: f32 = 0.0
        seq k in n0:
          check lt(ids[k], 7), code 3
          a add= convert[f32](x[k, j])
        y[j] = a
      atomic(add) z[0] = 1.0 if eq(t, 0)
      q: i32 = 5:i32
      atomic(max) z[0] = 0.25 if lt(t, 0) -> old
      o[add(mul(b, 32), t)] = old
""",
    "flat": """\
kernel flat[n0](in x: f32[n0,4,64], in w: f32[64], inout y: f32[n0,4,64]) narrow
  block b in idiv(add(mul(n0, 256), 1023), 1024):
    thread t in 256:
      if lt(add(mul(b, 1024), mul(t, 4)), mul(n0, 256)):
        vec(4x1) j in add(mul(b, 1024), mul(t, 4))..add(add(mul(b, 1024), mul(t, 4)), 4):
          y[idiv(j, 256), irem(idiv(j, 64), 4), irem(j, 64)] = add(y[idiv(j, 256),\
     irem(idiv(j, 64), 4), irem(j, 64)], mul(x[idiv(j, 256), irem(idiv(j, 64), 4), irem(j,\
     64)], w[irem(j, 64)]))
""",
    "lanes": """\
kernel lanes[n0](in x: f32[n0,64], in w: f32[8], out y: f32[n0,64], out z: f32[n0,64],\
     in ids: i32[64], in m: bool[n0,64], out p: bool[n0,64], out h: bf16[n0,64]) narrow
  block b in n0:
    thread t in 32:
      if lt(t, 8):
        vec(8x1) j in mul(t, 8)..add(mul(t, 8), 8):
          k: i64 = convert[i64](ids[j])
          u: f32 = x[b, k]
          c: i64 = 3
          v: f32 = x[b, add(mul(t, 8), c)]
          n: i32 = 0:i32
          while lt(n, 3:i32):
            u = add(mul(u, 0.5), v)
            n = add(n, 1:i32)
          if m[b, j]:
            u = add(u, w[irem(j, 8)])
          else:
            u = sub(u, x[b, sub(63, j)])
          if gt(w[0], 0.0):
            z[b, j] = u
          else:
            z[b, j] = neg(u)
          y[b, j] = u if gt(j, 5)
          y[b, j] = 1.0 if le(j, 5)
          p[b, j] = and(m[b, j], gt(u, 0.0))
          q: f32 = 0.0
          seq r in add(j, 1):
            q add= x[b, r]
          h[b, j] = convert[bf16](q)
""",
    "rowvec": """\
kernel rowvec[n0](in x: f32[n0,1000], out y: f32[n0], out z: i32[n0]) narrow
  block b in n0:
    thread t in 64:
      s: f32 = 0.0
      m: i32 = 0:i32
      seq k in 3:
        vec(4x2) j in add(mul(k, 256), mul(t, 4))..add(add(mul(k, 256), mul(t, 4)), 4):
          s add= mul(x[b, j], x[b, j])
          m max= convert[i32](mul(x[b, j], 10.0))
      if lt(t, 32):
        combine(32) add s
        combine(8) max m
      if eq(t, 0):
        y[b] = s
        z[b] = m
""",
    "loopcomb": """\
kernel loopcomb[n0](in x: f32[n0,128], out y: f32[n0,128], out z: f32[n0,128]) narrow
  block b in n0:
    buf: f32[128] scratch
    thread t in 128:
      acc: f32 = x[b, t]
      seq k in 3:
        combine(128) add acc
        acc = mul(acc, 0.01)
        acc = add(acc, convert[f32](t))
      y[b, t] = acc
      buf[t] = acc
      barrier
      pre: f32 = buf[sub(127, t)]
      prefix(128) add pre
      q: f32 = pre
      prefix(16) max q
      z[b, t] = add(pre, q)
""",
    "atomics": """\
kernel atomics[n0](in x: f32[n0,64], inout f: f32[16], inout i: i32[16], inout l: i64[16],\
     inout u: u8[16], inout h: f16[8], inout d: f64[4], inout c: bool[8], inout s: i16[16],\
     inout bf: bf16[8], inout w: u64[16], out o: i32[64], inout cnt: u32[1])
  block b in n0:
    thread t in 64:
      v: f32 = x[b, t]
      k: i32 = convert[i32](mul(v, 100.0))
      e: i64 = irem(t, 8)
      atomic(max) f[e] = v
      atomic(min) f[8] = v if gt(v, -100.0)
      atomic(exchange) f[9] = 2.5
      atomic(add) i[e] = k
      atomic(min) i[8] = k
      atomic(xor) i[9] = k
      atomic(add) l[e] = convert[i64](k)
      atomic(max) l[8] = convert[i64](k)
      atomic(or) l[9] = convert[i64](k)
      atomic(exchange) l[10] = -4
      atomic(add) u[e] = convert[u8](t)
      atomic(mul) u[9] = 3:u8
      atomic(max) h[e] = convert[f16](v)
      atomic(add) d[irem(t, 4)] = convert[f64](k)
      atomic(or) c[e] = gt(v, 1.5) if lt(e, 7)
      atomic(and) c[7] = gt(v, -2.0)
      atomic(add) s[e] = convert[i16](k)
      atomic(exchange) s[13] = 9:i16 if eq(t, 5)
      atomic(min) bf[e] = convert[bf16](v)
      atomic(max) w[e] = convert[u64](t)
      atomic(exchange) w[14] = 9:u64 if eq(t, 6)
      atomic(add) cnt[0] = 1:u32 -> ticket
      if eq(b, 0):
        o[t] = add(convert[i32](mul(ticket, 0:u32)), convert[i32](t))
""",
    "tile": """\
kernel tile[n0](in x: f32[64,96], out y: f32[96,64], in a: i8[64], out bb: i8[64]) narrow
  block b in 6:
    s: f32[32,33] scratch
    by: i64 = idiv(b, 3)
    bx: i64 = irem(b, 3)
    thread t in 256:
      seq(unroll 4) k in 4:
        r: i64 = add(idiv(t, 32), mul(k, 8))
        s[r, irem(t, 32)] = x[add(mul(by, 32), r), add(mul(bx, 32), irem(t, 32))]
      barrier
      seq(unroll 4) k in 4:
        r: i64 = add(idiv(t, 32), mul(k, 8))
        y[add(mul(bx, 32), r), add(mul(by, 32), irem(t, 32))] = s[irem(t, 32), r]
      fence
      if eq(b, 0):
        acc: f32[4,2] scratch
        seq(unroll 4) k in 4:
          seq(unroll 2) l in 2:
            acc[k, l] = x[k, l]
        if lt(t, 4):
          vec(16x1) j in mul(t, 16)..add(mul(t, 16), 16):
            bb[j] = add(mul(a[j], a[j]), 100:i8)
""",
    "halves": """\
kernel halves[n0](in x: f16[n0,32], out y: f16[n0,32], out z: bf16[n0,32], in w: f64[n0,32],\
     out d: f64[n0,32]) narrow
  block b in n0:
    thread t in 32:
      a: f16 = x[b, t]
      combine(32) add a
      y[b, t] = a
      m: bf16 = convert[bf16](x[b, t])
      prefix(32) max m
      z[b, t] = m
      if lt(t, 8):
        vec(4x1) j in mul(t, 4)..add(mul(t, 4), 4):
          d[b, j] = digamma(add(abs(w[b, j]), 1.0:f64))
""",
    "trans": """\
kernel trans[n0](in x: f32[40,24], out y: f32[32,40], inout k: i32[4])
  block b in 1:
    thread t in 32:
      if eq(t, 0):
        transpose(8) y[8, 16] = x[16, 8] in 8, 5
      l: i64 = convert[i64](k[0])
      g: i64 = add(mul(l, 3), 1)
      n: i32 = 0:i32
      while lt(convert[i64](n), add(g, mul(l, l))):
        n = add(n, 7:i32)
      if eq(t, 1):
        k[1] = n
        k[add(irem(mul(l, 5), 2), 2)] = 3:i32
""",
    "wide": """\
kernel wide[n0](in x: f32[n0,64], out y: f32[n0,64]) narrow
  block b in n0:
    s: f32[200,64] scratch
    q: f64[8] scratch
    thread t in 64:
      s[irem(t, 2), t] = x[b, t]
      q[irem(t, 8)] = 1.0:f64 if lt(t, 8)
      s[199, t] = x[b, sub(63, t)]
      barrier
      y[b, t] = add(s[199, t], convert[f32](q[irem(t, 8)]))
""",
    "complexes": """\
kernel complexes[n0](in x: c64[n0,64], out y: c64[n0,64], out z: c128[n0],\
     out m: f32[n0,64]) narrow
  block b in n0:
    thread t in 64:
      a: c64 = x[b, t]
      combine(64) add a
      p: c64 = x[b, t]
      prefix(32) mul p
      s: c128 = convert[c128](x[b, t])
      combine(64) add s
      if lt(t, 16):
        vec(4x1) j in mul(t, 4)..add(mul(t, 4), 4):
          m[b, j] = abs(x[b, j])
          y[b, j] = add(mul(x[b, j], a), conj(x[b, j]))
      if eq(t, 0):
        z[b] = s
      barrier
      if eq(t, 63):
        y[b, 63] = p
""",
}
