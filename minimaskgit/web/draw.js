/* Draw your own: pixels to codes and back. */

const INKS = ["#1d2429", "#f4f1e8", "#c8452f", "#e9a23b", "#f2d95c", "#4f9d5d", "#2f6db3", "#7a4fa3"];
const sheet = { canvas: null, last: 0, tokens: null, decoded: null, work: null };

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

/* A dot, or a line from the stroke's last cell. */
function ink(cell, begins) {
  const side = sheet.canvas.width, context = sheet.canvas.getContext("2d"), size = Number($("brush").value);
  const from = begins ? cell : sheet.last, at = (i) => [(i % side) + 0.5, Math.floor(i / side) + 0.5];
  Object.assign(context, { strokeStyle: $("ink").value, lineWidth: size, lineCap: "round", lineJoin: "round" });
  context.beginPath();
  context.moveTo(...at(from));
  context.lineTo(at(cell)[0] + 0.01, at(cell)[1]);
  context.stroke();
  sheet.last = cell;
  show_sheet();
  encode_soon();
}

function encode_soon() {
  clearTimeout(sheet.waiting);
  sheet.waiting = setTimeout(() => attempt("draw-status", encode), 120);
}

/* The drawing's tokens, each as its code's own patch, and what the decoder makes of them all. */
async function encode() {
  const drawing = sheet_picture(), asked = (sheet.asked = {});
  const { tokens, picture } = await engine.ask("encode", { picture: drawing });
  const codes = [...new Set(tokens)], { patches } = await engine.ask("patches", { codes });
  if (sheet.asked !== asked) return; // drawn on meanwhile
  Object.assign(sheet, { tokens, decoded: picture });
  paint($("draw-decoded"), picture);
  const canvas = $("draw-codes"), cell = Math.round(640 / grid), context = canvas.getContext("2d");
  canvas.width = canvas.height = grid * cell;
  context.imageSmoothingEnabled = false;
  tokens.forEach((code, i) =>
    context.drawImage(bitmap(patches[codes.indexOf(code)]), (i % grid) * cell + 1, Math.floor(i / grid) * cell + 1, cell - 2, cell - 2));
  $("draw-codes-caption").textContent = `Its ${num_tokens} codes, ${codes.length} of them different, each by its own patch`;
  const error = drawing.data.reduce((sum, value, i) => sum + Math.abs(value - picture.data[i]), 0) / (0.75 * drawing.data.length);
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

/* A sun over the sea, so that the section does not begin empty. */
function sketch() {
  const context = sheet.canvas.getContext("2d"), side = sheet.canvas.width;
  const box = (ink, ...place) => ((context.fillStyle = ink), context.fillRect(...place.map((part) => part * side)));
  box(INKS[6], 0, 0, 1, 1);
  box("#234f85", 0, 0.7, 1, 0.3);
  context.fillStyle = INKS[4];
  context.beginPath();
  context.arc(side / 2, 0.42 * side, 0.22 * side, 0, 7);
  context.fill();
}

/* A picture from a file: its middle square. */
async function open_picture() {
  const [file] = $("file").files;
  $("file").value = "";
  if (!file) return;
  const picture = await createImageBitmap(file).catch(() => null);
  if (!picture) throw new Error(`${file.name}: expected a picture that this browser can show`);
  const length = Math.min(picture.width, picture.height), side = sheet.canvas.width, context = sheet.canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, (picture.width - length) / 2, (picture.height - length) / 2, length, length, 0, 0, side, side);
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
  INKS.forEach((ink, i) => {
    const choice = Object.assign(document.createElement("input"), { type: "radio", name: "ink", value: ink, checked: !i });
    choice.style.background = ink;
    choice.setAttribute("aria-label", ["black", "white", "red", "orange", "yellow", "green", "blue", "purple"][i]);
    choice.onchange = () => ($("ink").value = ink);
    $("palette").append(choice);
  });
  $("ink").value = INKS[0];
  $("ink").oninput = () => document.querySelectorAll("#palette input").forEach((one) => (one.checked = one.value === $("ink").value));
  draw_grid = as_grid($("draw-canvas"), () => [side, side], ink, (cell) => (show_sheet(), say("draw-status", draw_grid.place(cell))));
  $("draw-canvas").onfocus = $("draw-canvas").onblur = show_sheet;
  $("draw-fill").onclick = fill_sheet;
  $("file").onchange = () => attempt("draw-status", open_picture);
  $("draw-edit").onclick = () => {
    if (easel.working) return say("draw-status", "The easel is busy; try again in a moment.", true);
    put_on_easel({ picture: sheet_picture(), tokens: sheet.tokens });
    say("edit-status", "Your drawing is here. Erase a part of it.");
    $("edit").scrollIntoView({ behavior: "smooth" });
  };
  sketch();
  show_sheet();
}
