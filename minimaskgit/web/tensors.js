"use strict";
/* What PyTorch gives the Python files: layers, norms, softmax, sorting, random numbers.

   This and the following files are the Python files of the same names, function by function, for one image instead of
   a batch. A matrix is a Float32Array, row after row: "(S, D)" has S rows of D numbers. Sums are in double precision.
*/

/* y = x W^T + b: x (rows, inputs), weight (outputs, inputs), bias (outputs,) or null, to (rows, outputs). */
function linear(x, weight, bias, inputs) {
  const rows = x.length / inputs, outputs = weight.length / inputs;
  const y = new Float32Array(rows * outputs);
  const last = outputs - 1, whole = rows - (rows % 4);
  // Four rows and four outputs at a time: 8 numbers read from memory serve 16 products.
  for (let o = 0; o < outputs; o += 4) {
    const o1 = Math.min(o + 1, last), o2 = Math.min(o + 2, last), o3 = Math.min(o + 3, last); // the last ones twice
    const w0 = o * inputs, w1 = o1 * inputs, w2 = o2 * inputs, w3 = o3 * inputs;
    const z0 = bias ? bias[o] : 0, z1 = bias ? bias[o1] : 0, z2 = bias ? bias[o2] : 0, z3 = bias ? bias[o3] : 0;
    for (let r = 0; r < whole; r += 4) {
      const xa = r * inputs, xb = xa + inputs, xc = xb + inputs, xd = xc + inputs;
      let a0 = z0, a1 = z1, a2 = z2, a3 = z3, b0 = z0, b1 = z1, b2 = z2, b3 = z3;
      let c0 = z0, c1 = z1, c2 = z2, c3 = z3, d0 = z0, d1 = z1, d2 = z2, d3 = z3;
      for (let i = 0; i < inputs; i++) {
        const a = x[xa + i], b = x[xb + i], c = x[xc + i], d = x[xd + i];
        let w = weight[w0 + i];
        a0 += a * w; b0 += b * w; c0 += c * w; d0 += d * w;
        w = weight[w1 + i];
        a1 += a * w; b1 += b * w; c1 += c * w; d1 += d * w;
        w = weight[w2 + i];
        a2 += a * w; b2 += b * w; c2 += c * w; d2 += d * w;
        w = weight[w3 + i];
        a3 += a * w; b3 += b * w; c3 += c * w; d3 += d * w;
      }
      let at = r * outputs;
      y[at + o] = a0; y[at + o1] = a1; y[at + o2] = a2; y[at + o3] = a3;
      at += outputs;
      y[at + o] = b0; y[at + o1] = b1; y[at + o2] = b2; y[at + o3] = b3;
      at += outputs;
      y[at + o] = c0; y[at + o1] = c1; y[at + o2] = c2; y[at + o3] = c3;
      at += outputs;
      y[at + o] = d0; y[at + o1] = d1; y[at + o2] = d2; y[at + o3] = d3;
    }
    for (let r = whole; r < rows; r++) {
      let a0 = z0, a1 = z1, a2 = z2, a3 = z3;
      for (let i = 0, xa = r * inputs; i < inputs; i++) {
        const a = x[xa + i];
        a0 += a * weight[w0 + i]; a1 += a * weight[w1 + i]; a2 += a * weight[w2 + i]; a3 += a * weight[w3 + i];
      }
      const at = r * outputs;
      y[at + o] = a0; y[at + o1] = a1; y[at + o2] = a2; y[at + o3] = a3;
    }
  }
  return y;
}

function add(x, y) {
  return x.map((value, i) => value + y[i]);
}

/* Each row of x (rows, width) with mean 0 and variance 1, times scale plus shift. eps: added to the variance. */
function layer_norm(x, scale, shift, eps) {
  const width = scale.length, y = new Float32Array(x.length);
  for (let start = 0; start < x.length; start += width) {
    let mean = 0, variance = 0;
    for (let i = 0; i < width; i++) mean += x[start + i] / width;
    for (let i = 0; i < width; i++) variance += (x[start + i] - mean) ** 2 / width;
    const over = 1 / Math.sqrt(variance + eps);
    for (let i = 0; i < width; i++) y[start + i] = (x[start + i] - mean) * over * scale[i] + shift[i];
  }
  return y;
}

/* x Phi(x), Phi the distribution function of a Gaussian: 1/2 erfc(-x / sqrt 2), by a rational approximation. */
function gelu(x) {
  return x.map((value) => {
    const z = Math.abs(value) * Math.SQRT1_2, t = 1 / (1 + 0.5 * z);
    const power = 1.00002368 + t * (0.37409196 + t * (0.09678418 + t * (-0.18628806 + t * (0.27886807 +
      t * (-1.13520398 + t * (1.48851587 + t * (-0.82215223 + t * 0.17087277)))))));
    const tail = 0.5 * t * Math.exp(-z * z - 1.26551223 + t * power);
    return value * (value > 0 ? 1 - tail : tail);
  });
}

/* GELU's approximation by tanh, as in the released code. */
function gelu_tanh(x) {
  return x.map((value) => 0.5 * value * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (value + 0.044715 * value ** 3))));
}

const GELUS = { erf: gelu, tanh: gelu_tanh };

function silu(x) {
  return x.map((value) => value / (1 + Math.exp(-value)));
}

/* log softmax of each row of x (rows, width). */
function log_softmax(x, width) {
  const y = new Float32Array(x.length);
  for (let start = 0; start < x.length; start += width) {
    let greatest = -Infinity, sum = 0;
    for (let i = 0; i < width; i++) greatest = Math.max(greatest, x[start + i]);
    for (let i = 0; i < width; i++) sum += Math.exp(x[start + i] - greatest);
    const log_sum = Math.log(sum);
    for (let i = 0; i < width; i++) y[start + i] = x[start + i] - greatest - log_sum;
  }
  return y;
}

function softmax(x, width) {
  return log_softmax(x, width).map(Math.exp);
}

/* Vectors of length 1: each row of x (rows, width). */
function normalize(x, width) {
  const y = new Float32Array(x.length);
  for (let start = 0; start < x.length; start += width) {
    let square = 0;
    for (let i = 0; i < width; i++) square += x[start + i] ** 2;
    const length = Math.max(Math.sqrt(square), 1e-12);
    for (let i = 0; i < width; i++) y[start + i] = x[start + i] / length;
  }
  return y;
}

/* The indices that sort x upwards; equal values keep their order. */
function argsort(x) {
  return Array.from(x, (_, i) => i).sort((a, b) => (x[a] < x[b] ? -1 : x[a] > x[b] ? 1 : 0));
}

/* Each value's place in that order: 0 for the least. */
function ranks_of(x) {
  const ranks = new Int32Array(x.length);
  argsort(x).forEach((index, rank) => (ranks[index] = rank));
  return ranks;
}

const count_true = (flags) => flags.reduce((sum, flag) => sum + (flag ? 1 : 0), 0);

/* PyTorch's random numbers on a CPU (Mersenne Twister), so that a seed means the same here as on the command line. */
class Generator {
  constructor(seed = 0) {
    this.state = new Uint32Array(624);
    this.state[0] = Number(BigInt.asUintN(32, BigInt(seed)));
    for (let i = 1; i < 624; i++) {
      const before = this.state[i - 1] ^ (this.state[i - 1] >>> 30);
      this.state[i] = Math.imul(1812433253, before) + i;
    }
    this.next = 624;
  }

  /* 32 random bits. */
  random() {
    if (this.next === 624) {
      const s = this.state;
      for (let i = 0; i < 624; i++) {
        const y = (s[i] & 0x80000000) | (s[(i + 1) % 624] & 0x7fffffff);
        s[i] = s[(i + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
      }
      this.next = 0;
    }
    let y = this.state[this.next++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }
}

/* `count` uniform numbers in [0, 1). */
function rand(count, generator) {
  return Float32Array.from({ length: count }, () => (generator.random() & 0xffffff) / 0x1000000);
}
