/* Editing: repaint a region of a picture and keep the rest (editing.py, outpainting.py).

   image --encode--> tokens --region to [MASK]--> decode from step t0 --> tokens' --decode--> picture' --+
   region of tokens --blur--> alpha ---------------------------------------------------------------------+-> blend
   image ------------------------------------------------------------------------------------------------+
*/

const STEPS = 12, START_STEP = 2, DILATE = 1; // defaults for edits in the released code

/* The region, bool (N,), grown by `dilate` tokens on every side, also diagonally. */
function dilated(region, columns, dilate) {
  return Array.from(region, (_, i) => {
    const row = Math.floor(i / columns), column = i % columns;
    return region.some((inside, j) =>
      inside && Math.abs(Math.floor(j / columns) - row) <= dilate && Math.abs((j % columns) - column) <= dilate);
  });
}

/* Blend generated pixels inside the mask with the original ones outside, with a soft rim of `radius` pixels. */
function blend(original, generated, mask, radius) {
  const alpha = soften(mask, original.height, original.width, radius);
  const data = original.data.map((value, i) => {
    const share = alpha[Math.floor(i / original.channels)];
    return value + share * (generated.data[i] - value);
  });
  return map_of(data, original.height, original.width);
}

/* Blur a mask (height, width) with a Gaussian cut off at ceil(3 radius): exactly 0 or 1 off the rim. */
function soften(mask, height, width, radius) {
  if (radius <= 0) return Float32Array.from(mask);
  const reach = Math.ceil(3 * radius), kernel = [];
  for (let i = -reach; i <= reach; i++) kernel.push(Math.exp(-0.5 * (i / radius) ** 2));
  const total = kernel.reduce((sum, value) => sum + value);
  const blurred = (x, at) => Float64Array.from(x, (_, i) => {
    const row = Math.floor(i / width), column = i % width;
    return kernel.reduce((sum, weight, k) => sum + (weight / total) * x[at(row, column, k - reach)], 0);
  });
  // The region continues beyond the picture's edge.
  const across = blurred(mask, (row, column, k) => row * width + clamp(column + k, 0, width - 1));
  return Float32Array.from(blurred(across, (row, column, k) => clamp(row + k, 0, height - 1) * width + column));
}

/* Paint the region's tokens into an image. blank: pixels without a picture yet, which the rim does not blend. */
function composite(tokenizer, image, tokens, region, blank) {
  const painted = tokenizer.decode(tokens), { downsampling: f, grid, image_size } = tokenizer;
  if (blank) image = map_of(image.data.map((value, i) => (blank[Math.floor(i / 3)] ? painted.data[i] : value)), image.height, image.width);
  const mask = Array.from({ length: image_size ** 2 }, (_, i) =>
    Number(region[Math.floor(i / image_size / f) * grid + Math.floor((i % image_size) / f)]));
  return blend(image, painted, mask, Math.max(0, image_size / 16 - 1));
}

/* The canvas for an edit: [MASK] in the region. */
function edit_canvas(model, tokens, region) {
  return Int32Array.from(tokens, (token, i) => (region[i] ? model.mask_id : token));
}
