/* Save what was made: PNG, GIF, and the link. */

function download(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

const file_name = (ending, what = "") => {
  const { label, seed } = film.settings, name = `maskgit-${settings.labels[label] ?? "any"}-${seed}${what}`;
  return `${name.replace(/[^\w-]+/g, "_").slice(0, 80)}.${ending}`;
};

/* A picture of rows x columns tokens, in whole pixels about 512 long. */
async function save_png({ picture, rows = grid, columns = grid }, status, what) {
  const canvas = document.createElement("canvas");
  paint(canvas, picture, { rows, columns, side: 512 });
  const blob = await new Promise((resolve) => canvas.toBlob(resolve));
  download(blob, file_name("png", what));
  say(status, `Saved ${file_name("png", what)}.`);
}

/* The film, from the blank canvas to the picture. */
async function save_gif() {
  if (!finished()) throw new Error(STILL_DECODING);
  say("saved", "Saving\u2026");
  await new Promise((shown) => setTimeout(shown, 50)); // many steps take seconds
  const shots = Array.from({ length: film.steps.length + 1 }, (_, n) => {
    const canvas = document.createElement("canvas");
    paint_kept(canvas, film.steps[Math.max(n, 1) - 1].picture, canvas_after(n), { side: 256 });
    return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  });
  const delays = shots.map((_, n) => (n < film.steps.length ? 35 : 200)); // hundredths of a second
  download(new Blob([gif_of(shots, delays)], { type: "image/gif" }), file_name("gif"));
  say("saved", `Saved ${file_name("gif")}.`);
}

async function copy_link() {
  const link = location.href.split("#")[0] + link_text();
  try {
    await navigator.clipboard.writeText(link);
    say("saved", "Copied a link with all settings.");
  } catch {
    say("saved", link);
  }
}

function start_save() {
  $("save-png").onclick = () => attempt("saved", () => save_png(film.steps[Math.max(film.shown, 1) - 1], "saved"));
  $("save-gif").onclick = () => attempt("saved", save_gif);
  $("copy-link").onclick = copy_link;
}

// --- GIF ---

/* Frames {width, height, data: RGBA} of one size as an animation that repeats. delays: in hundredths of a second. */
function gif_of(frames, delays) {
  const [{ width, height }] = frames, { palette, indices } = with_palette(frames), two = (n) => [n & 255, n >> 8];
  const parts = [[..."GIF89a"].map((letter) => letter.charCodeAt(0)), two(width), two(height), [0xf7, 0, 0], palette];
  parts.push([0x21, 0xff, 11, ...[..."NETSCAPE2.0"].map((letter) => letter.charCodeAt(0)), 3, 1, 0, 0, 0]);
  indices.forEach((pixels, i) => {
    parts.push([0x21, 0xf9, 4, 0, ...two(delays[i]), 0, 0], [0x2c, 0, 0, 0, 0, ...two(width), ...two(height), 0, 8]);
    const packed = lzw(pixels);
    for (let at = 0; at < packed.length; at += 255) {
      const block = packed.slice(at, at + 255);
      parts.push([block.length], block);
    }
    parts.push([0]);
  });
  return Uint8Array.from([...parts, [0x3b]].flat());
}

/* The 256 commonest colours, in 5 bits a channel, and for each frame the nearest of them to every pixel. */
function with_palette(frames) {
  const key = (data, at) => ((data[at] >> 3) << 10) | ((data[at + 1] >> 3) << 5) | (data[at + 2] >> 3);
  const channels = (k) => [k >> 10, (k >> 5) & 31, k & 31].map((five) => Math.round((five * 255) / 31));
  const counts = new Uint32Array(1 << 15), nearest = new Uint8Array(1 << 15);
  for (const { data } of frames) for (let at = 0; at < data.length; at += 4) counts[key(data, at)]++;
  const seen = [...counts.keys()].filter((k) => counts[k]).sort((a, b) => counts[b] - counts[a]);
  const common = seen.slice(0, 256).map(channels);
  for (const k of seen) {
    const [r, g, b] = channels(k);
    const apart = common.map((one) => (one[0] - r) ** 2 + (one[1] - g) ** 2 + (one[2] - b) ** 2);
    nearest[k] = apart.indexOf(Math.min(...apart));
  }
  const pixels = ({ data }) => Uint8Array.from({ length: data.length / 4 }, (_, i) => nearest[key(data, 4 * i)]);
  const palette = Array.from({ length: 768 }, (_, i) => common[Math.floor(i / 3)]?.[i % 3] ?? 0);
  return { palette, indices: frames.map(pixels) };
}

/* GIF's compression: a code for every run that has been seen, with as many bits as the newest code needs. */
function lzw(pixels) {
  const CLEAR = 256, END = 257, bytes = [], table = new Map();
  let next = END + 1, size = 9, held = 0, bits = 0, run = pixels[0];
  const put = (code) => {
    held |= code << bits;
    for (bits += size; bits >= 8; bits -= 8, held >>>= 8) bytes.push(held & 255);
  };
  put(CLEAR);
  for (const pixel of pixels.subarray(1)) {
    const longer = run * 256 + pixel;
    if (table.has(longer)) {
      run = table.get(longer);
      continue;
    }
    put(run);
    run = pixel;
    if (next === 4096) {
      put(CLEAR);
      table.clear();
      [next, size] = [END + 1, 9];
    } else {
      if (next === 1 << size) size++;
      table.set(longer, next++);
    }
  }
  put(run);
  put(END);
  if (bits) bytes.push(held & 255);
  return bytes;
}
