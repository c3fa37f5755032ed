/* Draw your own: pixels to codes and back. */

const INKS = {
  black: "#1d2429", white: "#f4f1e8", red: "#c8452f", yellow: "#f2d95c", green: "#4f9d5d", blue: "#2f6db3",
};
const sheet = { canvas: null, tokens: null };

const sheet_picture = () => {
  const side = sheet.canvas.width, { data } = sheet.canvas.getContext("2d").getImageData(0, 0, side, side);
  return { width: side, height: side, data };
};

function show_sheet() {
  const canvas = $("draw-canvas"), side = sheet.canvas.width, cursor = draw_grid.cursor();
  paint(canvas, null, { rows: side, columns: side, outline: (i) => i === cursor });
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.globalCompositeOperation = "destination-over";
  context.drawImage(sheet.canvas, 0, 0, canvas.width, canvas.height);
}

/* A dot. */
function ink(cell) {
  if (!sheet.tokens) return; // before the sketch
  const side = sheet.canvas.width, context = sheet.canvas.getContext("2d"), size = Number($("brush").value);
  context.fillStyle = $("ink").value;
  context.beginPath();
  context.arc((cell % side) + 0.5, Math.floor(cell / side) + 0.5, size / 2, 0, 7);
  context.fill();
  show_sheet();
  encode_soon();
}

function encode_soon() {
  $("draw-edit").disabled = true; // until there are tokens of this drawing
  clearTimeout(sheet.waiting);
  sheet.waiting = setTimeout(() => attempt("draw-status", encode), 120);
}

/* The drawing's tokens, each as its code's own patch, and what the decoder makes of them all. */
async function encode() {
  const drawing = sheet_picture(), asked = (sheet.asked = {});
  const { tokens, picture } = await engine.ask("encode", { picture: drawing });
  if (sheet.asked !== asked) return; // drawn on meanwhile
  const codes = [...new Set(tokens)], { patches } = await engine.ask("patches", { codes });
  if (sheet.asked !== asked) return;
  sheet.tokens = tokens;
  paint($("draw-decoded"), picture);
  const canvas = $("draw-codes"), cell = Math.round(640 / grid), context = canvas.getContext("2d");
  canvas.width = canvas.height = grid * cell;
  context.imageSmoothingEnabled = false;
  tokens.forEach((code, i) => {
    const [x, y] = [(i % grid) * cell, Math.floor(i / grid) * cell];
    context.drawImage(bitmap(patches[codes.indexOf(code)]), x + 1, y + 1, cell - 2, cell - 2);
  });
  const different = `${codes.length} different ${codes.length === 1 ? "code" : "codes"}`;
  $("draw-codes-caption").textContent = `Its ${num_tokens} tokens, with ${different}, each shown alone`;
  const apart = drawing.data.reduce((sum, value, i) => sum + Math.abs(value - picture.data[i]), 0);
  const error = apart / (0.75 * drawing.data.length); // every fourth number is the opacity
  say("draw-status", `Encoded. The reconstruction is off by ${error.toFixed(1)} of 255 levels on average.`);
  $("draw-edit").disabled = false;
}

/* Fill the sheet with the chosen colour. */
function fill_sheet() {
  const context = sheet.canvas.getContext("2d");
  context.fillStyle = $("ink").value;
  context.fillRect(0, 0, sheet.canvas.width, sheet.canvas.height);
  show_sheet();
  encode_soon();
}

/* The two colours of a picture: the one in its corner, and of all others the one farthest from it. */
function two_colours({ data }) {
  const pixels = Array.from({ length: data.length / 4 }, (_, i) => [...data.slice(4 * i, 4 * i + 3)]);
  const apart = (pixel) => pixel.reduce((sum, value, i) => sum + (value - pixels[0][i]) ** 2, 0);
  const farthest = pixels.reduce((best, pixel) => (apart(pixel) > apart(best) ? pixel : best));
  return [pixels[0], farthest].map((pixel) => "#" + pixel.map((value) => value.toString(16).padStart(2, "0")).join(""));
}

/* A smile in the colours of the decoded picture, which the tokenizer knows; drawing goes on from there. */
function sketch(picture) {
  const [paper, pen] = two_colours(picture), context = sheet.canvas.getContext("2d"), side = sheet.canvas.width;
  fill_palette({ paper, pen, ...INKS });
  context.fillStyle = paper;
  context.fillRect(0, 0, side, side);
  Object.assign(context, { strokeStyle: pen, lineWidth: side / 10, lineCap: "round" });
  const arcs = [[0.5, 0.42, 0.3, 0.45, 2.69], [0.34, 0.32, 0.02, 0, 6.28], [0.66, 0.32, 0.02, 0, 6.28]];
  for (const [x, y, radius, from, to] of arcs) {
    context.beginPath();
    context.arc(x * side, y * side, radius * side, from, to);
    context.stroke();
  }
  show_sheet();
  encode_soon();
}

function fill_palette(inks) {
  const choices = Object.entries(inks).map(([name, ink]) => {
    const choice = document.createElement("input"), checked = name === "pen";
    Object.assign(choice, { type: "radio", name: "ink", value: ink, title: name, checked });
    choice.style.background = ink;
    choice.setAttribute("aria-label", name);
    choice.onchange = () => ($("ink").value = ink);
    return choice;
  });
  $("palette").append(...choices);
  $("ink").value = inks.pen;
}

/* A picture from a file: its middle square. */
async function open_picture(file) {
  if (!file || !sheet.tokens) return; // nothing chosen, or before the sketch
  const picture = await createImageBitmap(file).catch(() => null);
  if (!picture) throw new Error(`${file.name}: expected a picture that this browser can open`);
  const { width, height } = picture, length = Math.min(width, height);
  const middle = [(width - length) / 2, (height - length) / 2];
  const side = sheet.canvas.width, context = sheet.canvas.getContext("2d");
  Object.assign(context, { imageSmoothingQuality: "high", fillStyle: "white" }); // transparent parts become white
  context.fillRect(0, 0, side, side);
  context.drawImage(picture, ...middle, length, length, 0, 0, side, side);
  show_sheet();
  encode_soon();
}

let draw_grid;

function start_draw() {
  const side = settings.models.tokenizer.settings.image_size;
  sheet.canvas = Object.assign(document.createElement("canvas"), { width: side, height: side });
  sheet.canvas.getContext("2d", { willReadFrequently: true });
  $("brush").max = Math.max(4, side / 4);
  $("brush").value = Math.ceil(side / 12);
  $("ink").oninput = () => {
    for (const choice of $("palette").querySelectorAll("input")) choice.checked = choice.value === $("ink").value;
  };
  const moved = (cell) => (show_sheet(), say("draw-status", draw_grid.place(cell)));
  draw_grid = as_grid($("draw-canvas"), () => [side, side], ink, moved);
  $("draw-canvas").onfocus = $("draw-canvas").onblur = show_sheet;
  $("draw-fill").onclick = fill_sheet;
  $("file").onchange = () => {
    attempt("draw-status", () => open_picture($("file").files[0]));
    $("file").value = ""; // so that the same file can be opened again
  };
  addEventListener("dragover", (event) => event.preventDefault()); // the browser would leave the page for the file
  addEventListener("drop", (event) => {
    event.preventDefault();
    attempt("draw-status", () => open_picture(event.dataTransfer.files[0]));
  });
  $("draw-edit").onclick = () => {
    if (easel.working) return say("draw-status", "An edit is still running. Try again in a moment.", true);
    put_on_easel({ picture: sheet_picture(), tokens: sheet.tokens });
    go_to($("edit"));
    $("edit-canvas").focus({ preventScroll: true });
    say("edit-status", "This is your drawing. Erase a part of it.");
  };
}
