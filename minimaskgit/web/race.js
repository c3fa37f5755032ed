/* The race: MaskGIT and its autoregressive twin, each in a thread of its own, with its own clock. */

const contest = { engine: null, heat: null };

async function race() {
  const heat = (contest.heat = { works: [] }), chosen = used_settings(), { label, seed } = chosen;
  const twin = { label, seed, cache: $("cache").checked };
  $("race-button").textContent = "Stop";
  say("race-status", "Loading the models again, for the twin's thread\u2026");
  try {
    contest.engine ??= start_engine().catch((error) => { // a promise, so that a second click waits for the same one
      contest.engine = null; // the next race tries again
      throw error;
    });
    const rival = await contest.engine;
    if (contest.heat !== heat) return; // stopped meanwhile
    say("race-status", "Both are running\u2026");
    heat.works = [
      lane("maskgit", chosen.steps, engine, "decode", { ...chosen, pictures: true }),
      lane("twin", num_tokens, rival, "rival", { ...twin, pictures: true }),
    ];
    const [mine, other] = await Promise.all(heat.works);
    if (contest.heat === heat) say("race-status", verdict(mine, other, twin.cache));
  } finally {
    if (contest.heat === heat) stop_race();
  }
}

function stop_race() {
  for (const work of contest.heat.works) work.cancel();
  contest.heat = null;
  $("race-button").textContent = "Start the race";
}

/* Run one of them and show each of its steps; resolves to its last step. */
function lane(name, most, engine, type, fields) {
  const tokens = new Int32Array(num_tokens).fill(mask_id), heat = contest.heat;
  let last;
  paint_kept($(`lane-${name}`), null, tokens);
  const work = engine.ask(type, fields, (step) => {
    if (contest.heat !== heat) return;
    last = step;
    if (type === "rival") tokens[step.position] = step.token;
    if (step.picture) paint_kept($(`lane-${name}`), step.picture, step.tokens ?? tokens);
    $(`clock-${name}`).textContent = `${passes_text(step.passes)}, ${seconds(step.milliseconds)}`;
    $(`bar-${name}`).value = (step.step ?? step.position + 1) / most;
  });
  return Object.assign(work.then(() => last), { cancel: work.cancel });
}

function verdict(mine, other, cache) {
  const ratio = other.milliseconds / mine.milliseconds, faster = ratio > 1 ? "MaskGIT" : "the twin";
  const times = Math.max(ratio, 1 / ratio).toFixed(1), passes = (other.passes / mine.passes).toFixed(1);
  return (
    `MaskGIT: ${passes_text(mine.passes)}, ${seconds(mine.milliseconds)}. ` +
    `The twin ${cache ? "with" : "without"} its cache: ` +
    `${passes_text(other.passes)}, ${seconds(other.milliseconds)}. The twin needed ${passes} times as many passes; ` +
    `${faster} was ${times} times as fast on this processor.`
  );
}

function start_race() {
  if (!settings.models.autoregressive) {
    const reason = document.querySelector("#race .reason");
    reason.textContent =
      "This run has no autoregressive twin. To train one: python -m minimaskgit.train --stage autoregressive";
    [reason.hidden, document.querySelector("#race .body").hidden] = [false, true];
  }
  $("race-button").onclick = () => {
    if (!contest.heat) return attempt("race-status", race);
    stop_race();
    say("race-status", "Stopped.");
  };
}
