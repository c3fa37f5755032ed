/* The tokenizer, a VQ-GAN: images to a grid of codebook indices and back (tokenizer.py).

   image --Encoder--> z --nearest codebook entry--> codes --> z_q --Decoder--> image

   A map is {data, height, width, channels}, its numbers channels last. An image is a map of 3 channels in [0, 1].
*/

const map_of = (data, height, width) => ({ data, height, width, channels: data.length / (height * width) });
const pointwise = (f) => (x) => map_of(f(x.data), x.height, x.width);

/* Index of the codebook entry (K, D) nearest to each vector of z (rows, D). */
function nearest_codes(z, codebook, dim) {
  const products = linear(z, codebook, null, dim), K = codebook.length / dim; // (rows, K)
  const squares = Float32Array.from({ length: K }, (_, k) => {
    let square = 0;
    for (let i = 0; i < dim; i++) square += codebook[k * dim + i] ** 2;
    return square;
  });
  return Int32Array.from({ length: z.length / dim }, (_, row) => {
    let nearest = 0;
    const distance = (k) => squares[k] - 2 * products[row * K + k];
    for (let k = 1; k < K; k++) if (distance(k) < distance(nearest)) nearest = k;
    return nearest;
  });
}

/* A convolution, 3 x 3 with zeros around the map, or 1 x 1: a linear layer on each position's neighbourhood. */
function conv(weights, name) {
  const data = weights[`${name}.weight`], bias = weights[`${name}.bias`] || null;
  const [outputs, inputs, side] = weights.shapes[`${name}.weight`], reach = (side - 1) / 2, cells = side * side;
  const weight = new Float32Array(data.length); // from (outputs, inputs, cells) to (outputs, cells, inputs)
  for (let o = 0; o < outputs; o++)
    for (let i = 0; i < inputs; i++)
      for (let cell = 0; cell < cells; cell++)
        weight[(o * cells + cell) * inputs + i] = data[(o * inputs + i) * cells + cell];
  return (x) => {
    const around = side === 1 ? x.data : new Float32Array(x.data.length * cells);
    for (let row = 0, at = 0; side > 1 && row < x.height; row++)
      for (let column = 0; column < x.width; column++)
        for (let r = row - reach; r <= row + reach; r++)
          for (let c = column - reach; c <= column + reach; c++, at += inputs)
            if (r >= 0 && r < x.height && c >= 0 && c < x.width) {
              const from = (r * x.width + c) * inputs;
              around.set(x.data.subarray(from, from + inputs), at);
            }
    return map_of(linear(around, weight, bias, cells * inputs), x.height, x.width);
  };
}

/* Each group of channels with mean 0 and variance 1 over the whole map. */
function group_norm(weights, name) {
  const scale = weights[`${name}.weight`], shift = weights[`${name}.bias`], channels = scale.length;
  const size = channels / [32, 16, 8, 4, 2, 1].find((groups) => channels % groups === 0);
  return pointwise((x) => {
    const y = new Float32Array(x.length), count = (x.length / channels) * size;
    for (let first = 0; first < channels; first += size) {
      let mean = 0, variance = 0;
      for (let at = first; at < x.length; at += channels)
        for (let i = 0; i < size; i++) mean += x[at + i] / count;
      for (let at = first; at < x.length; at += channels)
        for (let i = 0; i < size; i++) variance += (x[at + i] - mean) ** 2 / count;
      const over = 1 / Math.sqrt(variance + 1e-6);
      for (let at = first; at < x.length; at += channels)
        for (let i = 0; i < size; i++) y[at + i] = (x[at + i] - mean) * over * scale[first + i] + shift[first + i];
    }
    return y;
  });
}

/* x + conv(swish(norm(conv(swish(norm(x)))))), with a 1x1 convolution on the shortcut if the width changes. */
function residual_block(weights, name, released_shortcut) {
  const body = [
    group_norm(weights, `${name}.body.0`), pointwise(silu), conv(weights, `${name}.body.2`),
    group_norm(weights, `${name}.body.3`), pointwise(silu), conv(weights, `${name}.body.5`),
  ];
  const shortcut = weights[`${name}.shortcut.weight`] && conv(weights, `${name}.shortcut`);
  return (x) => {
    const out = sequential(body, x);
    const kept = shortcut ? shortcut(released_shortcut ? out : x) : x;
    return map_of(add(out.data, kept.data), x.height, x.width);
  };
}

const sequential = (layers, x) => layers.reduce((y, layer) => layer(y), x);

/* Fold patches of `patch` x `patch` pixels into channels, in PyTorch's order: channel, row, column. */
const pixel_unshuffle = (patch) => (x) => {
  const height = x.height / patch, width = x.width / patch, y = new Float32Array(x.data.length);
  each_pixel(x, patch, (pixel, folded) => (y[folded] = x.data[pixel]));
  return map_of(y, height, width);
};

const pixel_shuffle = (patch) => (x) => {
  const whole = map_of(new Float32Array(x.data.length), x.height * patch, x.width * patch);
  each_pixel(whole, patch, (pixel, folded) => (whole.data[pixel] = x.data[folded]));
  return whole;
};

function each_pixel({ height, width, channels }, patch, visit) {
  for (let row = 0, pixel = 0; row < height; row++)
    for (let column = 0; column < width; column++)
      for (let channel = 0; channel < channels; channel++, pixel++) {
        const cell = Math.floor(row / patch) * (width / patch) + Math.floor(column / patch);
        visit(pixel, ((cell * channels + channel) * patch + (row % patch)) * patch + (column % patch));
      }
}

/* Half the side: means of 2 x 2. */
const average_pool = (x) => resized(x, x.height / 2, x.width / 2, (row, column, i) => {
  const at = (r, c) => x.data[((2 * row + r) * x.width + 2 * column + c) * x.channels + i];
  return (at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)) / 4;
});

/* Twice the side: each position four times. */
const upsample = (x) => resized(x, 2 * x.height, 2 * x.width, (row, column, i) =>
  x.data[((row >> 1) * x.width + (column >> 1)) * x.channels + i]);

function resized(x, height, width, value) {
  const y = new Float32Array(height * width * x.channels);
  for (let row = 0, at = 0; row < height; row++)
    for (let column = 0; column < width; column++)
      for (let i = 0; i < x.channels; i++) y[at++] = value(row, column, i);
  return map_of(y, height, width);
}

/* The layers of Python's Encoder, an nn.Sequential: a layer's weights are named by its place in it. */
function encoder({ multipliers, blocks, patch, released_shortcut }, weights) {
  const layers = [], add_layer = (make, ...more) => layers.push(make(weights, `encoder.${layers.length}`, ...more));
  layers.push(pixel_unshuffle(patch));
  add_layer(conv);
  multipliers.forEach((_, level) => {
    if (level > 0) layers.push(average_pool);
    for (let i = 0; i < blocks; i++) add_layer(residual_block, released_shortcut);
  });
  for (let i = 0; i < blocks; i++) add_layer(residual_block);
  add_layer(group_norm);
  layers.push(pointwise(silu));
  add_layer(conv);
  return layers;
}

/* The layers of Python's Decoder; mirrors the encoder. */
function decoder_layers({ multipliers, blocks, patch, released_shortcut }, weights) {
  const layers = [], add_layer = (make, ...more) => layers.push(make(weights, `decoder.${layers.length}`, ...more));
  add_layer(conv);
  for (let i = 0; i < blocks; i++) add_layer(residual_block);
  for (let level = multipliers.length - 1; level >= 0; level--) {
    for (let i = 0; i < blocks; i++) add_layer(residual_block, released_shortcut);
    if (level > 0) {
      layers.push(upsample);
      add_layer(conv);
    }
  }
  add_layer(group_norm);
  layers.push(pointwise(silu));
  add_layer(conv);
  layers.push(pixel_shuffle(patch));
  return layers;
}

class Tokenizer {
  /* settings: the arguments of Python's class of this name; weights: its tensors by name; "entries" is the codebook. */
  constructor(settings, weights) {
    Object.assign(this, settings);
    this.downsampling = this.patch * 2 ** (this.multipliers.length - 1);
    this.grid = this.image_size / this.downsampling;
    this.num_tokens = this.grid ** 2;
    this.entries = weights["entries"]; // (K, D), of length 1 if l2_norm
    this.encoder = encoder(settings, weights);
    this.decoder = decoder_layers(settings, weights);
  }

  /* An image to its codes (N,) in raster order. */
  encode(image) {
    const z = sequential(this.encoder, image).data;
    return nearest_codes(this.l2_norm ? normalize(z, this.code_dim) : z, this.entries, this.code_dim);
  }

  /* Codes in raster order to an image, clipped to [0, 1]; `columns` codes make a row. */
  decode(codes, columns = this.grid) {
    const z_q = new Float32Array(codes.length * this.code_dim), D = this.code_dim;
    codes.forEach((code, i) => z_q.set(this.entries.subarray(code * D, (code + 1) * D), i * D));
    const image = sequential(this.decoder, map_of(z_q, codes.length / columns, columns));
    return map_of(image.data.map((value) => clamp(value, 0, 1)), image.height, image.width);
  }
}
