/* The transformer of both decoders, masked and autoregressive (transformer.py, positions.py).

   [class] t1 t2 [M] t4 ... tN --embed + position--> Block x L --dense, GELU, norm--> logits over the K codes

   ids: 0..K-1 are the codes, K..K+C-1 the classes, and K+C is [MASK], which in place of the class means "no class".
   `watch`, where it is given, collects what happens inside: {outputs: [of each block], attention: [of each block]}.
*/

/* softmax(q k^T / sqrt(d)) v for each head: q (S, D), k and v (S', D), each D being `heads` parts of d numbers.

   causal: query i sees only the keys up to its own, the last of the S' being the last query's.
   seen: if given, (heads, S, S') to be filled with how much each query attends to each key.
*/
function attention(q, k, v, width, heads, causal, seen) {
  const queries = q.length / width, keys = k.length / width, d = width / heads;
  const y = new Float32Array(q.length), weights = new Float32Array(keys), sums = new Float64Array(d);
  for (let head = 0; head < heads; head++) {
    for (let i = 0; i < queries; i++) {
      const at = i * width + head * d, visible = causal ? i + 1 + keys - queries : keys;
      let greatest = -Infinity, total = 0;
      for (let j = 0; j < visible; j++) {
        let dot = 0;
        for (let c = 0, from = j * width + head * d; c < d; c++) dot += q[at + c] * k[from + c];
        weights[j] = dot / Math.sqrt(d);
        greatest = Math.max(greatest, weights[j]);
      }
      for (let j = 0; j < visible; j++) total += weights[j] = Math.exp(weights[j] - greatest);
      sums.fill(0);
      for (let j = 0; j < visible; j++) {
        const weight = weights[j] / total;
        for (let c = 0, from = j * width + head * d; c < d; c++) sums[c] += weight * v[from + c];
        if (seen) seen[(head * queries + i) * keys + j] = weight;
      }
      y.set(sums, at);
    }
  }
  return y;
}

/* Keys and values of the positions read so far, one pair per block. */
class KVCache {
  constructor(model) {
    this.width = model.width;
    this.layers = model.blocks.map(() => [0, 0].map(() => new Float32Array(model.num_tokens * model.width)));
    this.length = 0;
  }

  /* Store the new positions' keys and values (S, D); return all keys and values so far. */
  extend(layer, k, v) {
    const end = this.length * this.width + k.length;
    return this.layers[layer].map((store, i) => {
      store.set(i ? v : k, this.length * this.width);
      return store.subarray(0, end);
    });
  }
}

/* Attention and MLP, each with a residual connection and a LayerNorm: before it, or after the sum. */
class Block {
  constructor(settings, weights, name) {
    const { width, heads, causal, pre_norm, num_tokens, norm_eps, activate } = settings;
    Object.assign(this, { width, heads, causal, pre_norm, norm_eps, activate });
    const layer = (part) => [weights[`${name}.${part}.weight`], weights[`${name}.${part}.bias`]];
    const [weight, bias] = layer("qkv");
    this.qkv = [0, 1, 2].map((i) => [
      weight.subarray(i * width * width, (i + 1) * width * width), bias.subarray(i * width, (i + 1) * width),
    ]);
    for (const part of ["out", "up", "down", "norm1", "norm2"]) this[part] = layer(part);
    // After the paper: queries and keys of length 1 and a learned scale, and turned by their row and column.
    this.norms = settings.qk_norm && [0, 1].map((i) => weights[`${name}.query_key.norms.${i}.weight`]);
    this.angles = settings.rope && grid_angles(num_tokens, width / heads);
  }

  /* (S, D) to (S, D); with a cache, the S positions follow the cached ones. */
  forward(x, cache, layer, watch) {
    if (this.pre_norm) {
      x = add(x, this._attend(layer_norm(x, ...this.norm1, this.norm_eps), cache, layer, watch));
      return add(x, this._mlp(layer_norm(x, ...this.norm2, this.norm_eps)));
    }
    x = layer_norm(add(x, this._attend(x, cache, layer, watch)), ...this.norm1, this.norm_eps);
    return layer_norm(add(x, this._mlp(x)), ...this.norm2, this.norm_eps);
  }

  _attend(x, cache, layer, watch) {
    let [q, k, v] = this.qkv.map(([weight, bias]) => linear(x, weight, bias, this.width));
    [q, k] = [q, k].map((part, i) => this._positioned(part, i, cache ? cache.length : 0));
    if (cache) [k, v] = cache.extend(layer, k, v);
    const seen = watch && new Float32Array((this.heads * q.length * k.length) / this.width ** 2);
    if (watch) watch.attention.push(seen);
    return linear(attention(q, k, v, this.width, this.heads, this.causal, seen), ...this.out, this.width);
  }

  _mlp(x) {
    const [weight, bias] = this.down;
    return linear(this.activate(linear(x, ...this.up, this.width)), weight, bias, this.up[1].length);
  }

  /* Queries or keys (S, D) of the positions from `start` on: normalised, then turned, if the model does either. */
  _positioned(x, which, start) {
    if (this.norms) x = rms_norm(x, this.norms[which]);
    return this.angles ? rotate(x, this.angles, this.width, this.heads, start) : x;
  }
}

class Transformer {
  /* settings: the arguments of Python's class of this name; weights: its tensors by name, as Float32Array. */
  constructor(settings, weights) {
    settings = { norm_eps: 1e-6, ...settings, activate: GELUS[settings.gelu ?? "erf"] }; // older runs name neither
    Object.assign(this, settings);
    this.mask_id = this.num_codes + this.num_classes;
    this.passes = 0; // so far
    this.embedding = weights["embedding.weight"];
    this.positions = weights["positions"];
    this.masks = weights["masks.weight"]; // undefined if the model does not count the masks
    this.norm = [weights["norm.weight"], weights["norm.bias"]];
    this.blocks = Array.from({ length: this.depth }, (_, i) => new Block(settings, weights, `blocks.${i}`));
    this.dense = [weights["head.0.weight"], weights["head.0.bias"]];
    this.last_norm = [weights["head.2.weight"], weights["head.2.bias"]];
    // Only the rows of codes: the output is never [MASK] or a class.
    const codes = this.embedding.subarray(0, this.num_codes * this.width);
    this.output = [codes, weights["bias"].subarray(0, this.num_codes)];
  }

  /* Logits over the codes at the positions `where` (M, K), for tokens (N,) of class `label` in 0..C, C: "no class".

     Bidirectional: row i predicts token i, which may be [MASK]. Causal: from the class and tokens 0..i-1.
  */
  forward(tokens, label, where, watch) {
    const class_id = this.num_codes + label, first = this.causal ? 0 : 1;
    const x = this.trunk(this.causal ? shift_right(tokens, class_id) : [class_id, ...tokens], null, watch);
    const rows = new Float32Array(where.length * this.width);
    where.forEach((position, i) => rows.set(this._row(x, position + first), i * this.width));
    return this.logits(rows);
  }

  /* Run all blocks on ids (S,), which begin with the class or follow the cached positions: (S, D). */
  trunk(ids, cache, watch) {
    this.passes++;
    const start = cache ? cache.length : 0;
    let x = new Float32Array(ids.length * this.width);
    Array.from(ids).forEach((id, i) => {
      x.set(add(this._row(this.embedding, id), this._row(this.positions, start + i)), i * this.width);
    });
    if (this.masks) {
      const count = count_true(Array.from(ids).slice(1).map((id) => id === this.mask_id));
      x.set(add(this._row(x, 0), this._row(this.masks, count)), 0); // added to the class token
    }
    if (!this.pre_norm) x = layer_norm(x, ...this.norm, this.norm_eps);
    this.blocks.forEach((block, layer) => {
      x = block.forward(x, cache, layer, watch);
      if (watch) watch.outputs.push(x);
    });
    if (cache) cache.length += ids.length;
    return this.pre_norm ? layer_norm(x, ...this.norm, this.norm_eps) : x;
  }

  /* Trunk outputs (rows, D) to logits over the K codes, (rows, K). */
  logits(x) {
    const head = layer_norm(this.activate(linear(x, ...this.dense, this.width)), ...this.last_norm, this.norm_eps);
    return linear(head, ...this.output, this.width);
  }

  _row(matrix, i) {
    return matrix.subarray(i * this.width, (i + 1) * this.width);
  }
}

/* A causal model's input to predict `tokens`: [start, t1, ..., tN-1]. */
function shift_right(tokens, start) {
  return [start, ...tokens.slice(0, -1)];
}

// --- positions.py ---

/* Root mean square 1 for each query or key of d numbers, times a learned scale (d,). */
function rms_norm(x, scale) {
  const d = scale.length, y = new Float32Array(x.length);
  for (let start = 0; start < x.length; start += d) {
    let square = 0;
    for (let i = 0; i < d; i++) square += x[start + i] ** 2 / d;
    const over = 1 / Math.sqrt(square + 1e-6);
    for (let i = 0; i < d; i++) y[start + i] = x[start + i] * over * scale[i];
  }
  return y;
}

/* Angles of the pairs of `dim` channels, for the class token and a square grid: (1 + N, dim / 2). */
function grid_angles(num_tokens, dim) {
  const side = Math.round(Math.sqrt(num_tokens)), quarter = dim / 4;
  const angles = new Float32Array((1 + num_tokens) * 2 * quarter); // the class token is not turned
  for (let token = 0; token < num_tokens; token++) {
    for (let i = 0; i < quarter; i++) {
      const frequency = 100 ** -(quarter > 1 ? i / (quarter - 1) : 0); // from one radian a token to a hundredth
      angles[(1 + token) * 2 * quarter + i] = Math.floor(token / side) * frequency;
      angles[(1 + token) * 2 * quarter + quarter + i] = (token % side) * frequency;
    }
  }
  return angles;
}

/* Turn channel pairs (i, i + d/2) of each head of x (S, D) by the angles (.., d / 2) of the positions from `start`. */
function rotate(x, angles, width, heads, start) {
  const half = width / heads / 2, y = new Float32Array(x.length);
  for (let at = 0; at < x.length; at += 2 * half) {
    const position = start + Math.floor(at / width);
    for (let i = 0; i < half; i++) {
      const cos = Math.cos(angles[position * half + i]), sin = Math.sin(angles[position * half + i]);
      const a = x[at + i], b = x[at + half + i];
      y[at + i] = a * cos - b * sin;
      y[at + half + i] = a * sin + b * cos;
    }
  }
  return y;
}
