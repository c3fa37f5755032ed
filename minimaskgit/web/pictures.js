/* What the sections share: elements, and pictures with their tokens on a canvas. */

const $ = (id) => document.getElementById(id);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);
const percent = (p) => `${p > 0 && p < 0.01 ? "< 1" : Math.round(100 * p)} %`;
const seconds = (milliseconds) => `${(milliseconds / 1000).toFixed(2)} s`;
const passes_text = (count) => (count === 1 ? "1 pass" : `${count} passes`);
const tokens_text = (count) => (count === 1 ? "1 token" : `${count} tokens`);

const STILL_DECODING = "Still decoding. Try again in a moment.";

/* The text of a section's status line, in red if something went wrong.

   A screen reader speaks it if the user is in that section, or if it is an error.
*/
function say(id, text, wrong = false) {
  const here = $(id).closest("section").contains(document.activeElement);
  if (id !== "status") $(id).setAttribute("aria-live", wrong || here ? "polite" : "off"); // there say_step decides
  $(id).textContent = text;
  $(id).classList.toggle("wrong", wrong);
}

/* Do what a button asks for; an error becomes the text of a status line, and the page goes on. */
async function attempt(status, action) {
  try {
    await action();
  } catch (error) {
    say(status, error.message, true);
  }
}

const still = matchMedia("(prefers-reduced-motion: reduce)");

/* Scroll to a section, which appears if the page shows another one alone. */
function go_to(section) {
  section.classList.add("only");
  section.scrollIntoView({ behavior: still.matches ? "auto" : "smooth" });
}

const bitmaps = new WeakMap();

/* A picture of the engine as something that can be drawn. */
function bitmap(picture) {
  if (!bitmaps.has(picture)) {
    const canvas = Object.assign(document.createElement("canvas"), { width: picture.width, height: picture.height });
    canvas.getContext("2d").putImageData(new ImageData(picture.data, picture.width, picture.height), 0, 0);
    bitmaps.set(picture, canvas);
  }
  return bitmaps.get(picture);
}

/* Draw a picture of rows x columns tokens, about `side` pixels long.

   cover(i): [colour, opacity] to lay over token i, or nothing. outline(i): whether to draw a line around it.
*/
function paint(canvas, picture, { rows = grid, columns = grid, side = 640, cover, outline } = {}) {
  const cell = Math.max(2, Math.round(side / Math.max(rows, columns))), context = canvas.getContext("2d");
  Object.assign(canvas, { width: columns * cell, height: rows * cell });
  context.imageSmoothingEnabled = false;
  if (picture) context.drawImage(bitmap(picture), 0, 0, canvas.width, canvas.height);
  for (let i = 0; i < rows * columns; i++) {
    const x = (i % columns) * cell, y = Math.floor(i / columns) * cell, over = cover?.(i);
    if (over) [context.fillStyle, context.globalAlpha] = over;
    if (over) context.fillRect(x, y, cell, cell);
    context.globalAlpha = 1;
    if (over?.[2]) stamp(context, x, y, cell);
  }
  const outlined = outline ? Array.from({ length: rows * columns }, (_, i) => i).filter(outline) : [];
  const line = (context.lineWidth = Math.max(3, cell / 24)); // a phone shows the canvas at half its size
  for (const [name, out] of [["paper", line / 2], ["accent", -line / 2]]) { // on any picture, one of the two is seen
    context.strokeStyle = colour(name);
    for (const i of outlined) {
      const [x, y] = [(i % columns) * cell - out, Math.floor(i / columns) * cell - out];
      context.strokeRect(x, y, cell + 2 * out, cell + 2 * out);
    }
  }
}

/* The sign of a masked token: a tile with a gap around it. */
function stamp(context, x, y, cell) {
  const gap = Math.max(0.5, cell / 16);
  context.fillStyle = colour("mask");
  context.beginPath();
  context.roundRect(x + gap, y + gap, cell - 2 * gap, cell - 2 * gap, cell / 8);
  context.fill();
}

const masked_cover = () => [colour("known"), 1, true];
const heat = (p) => `color-mix(in srgb, ${colour("accent")} ${100 * clamp(p, 0, 1)}%, ${colour("surface")})`;

/* A step's picture with the tokens that are still masked covered. tokens: those after the step. */
function paint_kept(canvas, picture, tokens, options = {}) {
  const cover = (i) => (tokens[i] === mask_id ? masked_cover() : null);
  paint(canvas, picture, { cover, ...options });
}

/* A small canvas with a code's own patch. */
function patch_canvas(patch) {
  const canvas = document.createElement("canvas");
  paint(canvas, patch, { rows: 1, columns: 1, side: 40 });
  return canvas;
}

/* The cell of a grid of rows x columns that an event points at. */
function cell_at(canvas, event, rows, columns) {
  const box = canvas.getBoundingClientRect();
  const along = (position, count) => clamp(Math.floor(position * count), 0, count - 1);
  const row = along((event.clientY - box.top) / box.height, rows);
  return row * columns + along((event.clientX - box.left) / box.width, columns);
}

const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/* Use a canvas as a grid of cells, by pointer and by keyboard.

   size(): [rows, columns]. use(cell, begins): a cell is touched, `begins` at the start of a stroke or by a key; a quick
   stroke touches all cells on its way.
   moved(cell): the arrow keys went to a cell. The canvas says where its cursor is while it has the focus; go(cell)
   moves it there. A canvas that a finger draws on must be tapped first: until then, a finger scrolls the page.
*/
function as_grid(canvas, size, use, moved = () => {}) {
  let cursor = 0, drawing = false;
  const untapped = () => canvas.classList.contains("drawn") && document.activeElement !== canvas;
  const place = (cell) => `Row ${Math.floor(cell / size()[1]) + 1}, column ${(cell % size()[1]) + 1}`;
  const touched = (event) => cell_at(canvas, event, ...size());
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button || !event.isPrimary) return; // another mouse button, or a second finger
    if (event.pointerType === "touch" && untapped()) return;
    drawing = true;
    try { canvas.setPointerCapture(event.pointerId); } catch {} // a pointer that is gone already
    use((cursor = touched(event)), true);
  });
  canvas.addEventListener("pointermove", (event) => {
    const columns = size()[1], before = cursor;
    if (!drawing || !event.isPrimary || touched(event) === before) return;
    cursor = touched(event);
    const [from, to] = [before, cursor].map((cell) => [Math.floor(cell / columns), cell % columns]);
    const longest = Math.max(...to.map((end, axis) => Math.abs(end - from[axis])));
    for (let i = 1; i <= longest; i++) {
      const [row, column] = to.map((end, axis) => Math.round(from[axis] + ((end - from[axis]) * i) / longest));
      use(row * columns + column, false);
    }
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"])
    canvas.addEventListener(end, () => (drawing = false));
  canvas.addEventListener("keydown", (event) => {
    const [rows, columns] = size(), move = ARROWS[event.key];
    if (!move && event.key !== " " && event.key !== "Enter") return;
    event.preventDefault();
    cursor = Math.min(cursor, rows * columns - 1); // the grid may be smaller than it was
    if (!move) return use(cursor, true);
    const row = clamp(Math.floor(cursor / columns) + move[0], 0, rows - 1);
    cursor = row * columns + clamp((cursor % columns) + move[1], 0, columns - 1);
    moved(cursor);
  });
  const shown = () => document.activeElement === canvas && canvas.matches(":focus-visible");
  return { place, go: (cell) => (cursor = cell), cursor: () => (shown() ? cursor : -1) };
}
