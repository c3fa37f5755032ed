/* The mask schedule as a curve: gamma over r, what it masks after each step, and dots to drag. */

const KNOTS = Array.from({ length: 9 }, (_, i) => i / 8);
const HEIGHT = 60; // of the curve, which is 100 wide
let own_schedule = KNOTS.map((r) => 1 - r);

const chosen_schedule = () => ($("schedule").value === "own" ? drawn(own_schedule) : SCHEDULES[$("schedule").value]);

/* Draw it anew. */
function show_curve() {
  const gamma = chosen_schedule(), T = Number($("steps").value), y = (value) => HEIGHT * (1 - value);
  const points = Array.from({ length: 101 }, (_, i) => `${i},${y(clamp(gamma(i / 100, num_tokens), 0, 1))}`);
  $("line").setAttribute("points", points.join(" "));
  const bar = (share, t) =>
    `<rect x="${(100 * t + 8) / T}" width="${84 / T}" y="${y(share)}" height="${HEIGHT * share}"/>`;
  const used = $("decoder").value === "remdm-loop" ? paused(gamma) : gamma;
  const plan = mask_plan(num_tokens, T, used, 0, ROUNDINGS[settings.decoding.rounding]);
  $("plan").innerHTML = plan.map((count, t) => bar(count / num_tokens, t)).join("");
  if (!$("handles").children.length) make_handles();
  for (const handle of $("handles").children) {
    const value = clamp(gamma(KNOTS[handle.dataset.knot], num_tokens), 0, 1);
    handle.setAttribute("cy", y(value));
    handle.setAttribute("aria-valuenow", value.toFixed(2));
    handle.setAttribute("tabindex", $("schedule").disabled ? -1 : 0);
  }
}

function make_handles() {
  $("handles").innerHTML = KNOTS.slice(1, -1)
    .map((r, i) => `<circle data-knot="${i + 1}" cx="${100 * r}" r="2.4" role="slider" aria-valuemin="0"
      aria-valuemax="1" aria-label="Masked at progress ${r}"/>`)
    .join("");
}

/* Move one dot: from now on the schedule is the user's own. */
function bend(knot, value) {
  if ($("schedule").disabled) return;
  const gamma = chosen_schedule();
  own_schedule = KNOTS.map((r) => clamp(gamma(r, num_tokens), 0, 1));
  [own_schedule[0], own_schedule[8], own_schedule[knot]] = [1, 0, Math.round(100 * clamp(value, 0, 1)) / 100];
  $("schedule").value = "own";
  changed();
}

function start_curve() {
  const curve = $("curve");
  let knot = null;
  const at = (event) => {
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(curve.getScreenCTM().inverse());
    return { nearest: clamp(Math.round((x / 100) * 8), 1, 7), value: 1 - y / HEIGHT };
  };
  curve.addEventListener("pointerdown", (event) => {
    const dot = event.target.dataset.knot;
    if (event.button || !event.isPrimary) return;
    if (!dot && event.pointerType !== "mouse") return; // a finger that scrolls the page
    knot = dot ? Number(dot) : at(event).nearest;
    try { curve.setPointerCapture(event.pointerId); } catch {}
    bend(knot, at(event).value);
    event.preventDefault();
  });
  curve.addEventListener("pointermove", (event) => knot !== null && bend(knot, at(event).value));
  for (const end of ["pointerup", "pointercancel"]) curve.addEventListener(end, () => (knot = null));
  curve.addEventListener("keydown", (event) => {
    const by = { ArrowUp: 0.05, ArrowRight: 0.05, ArrowDown: -0.05, ArrowLeft: -0.05, Home: -1, End: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    bend(Number(event.target.dataset.knot), Number(event.target.getAttribute("aria-valuenow")) + by);
  });
}
