"use strict";
/* The page's side of worker.js: each request is a promise, and `each` is called with every step.

   const engine = await start_engine();
   const work = engine.ask("decode", { label: 3, steps: 8, seed: 0 }, (step) => draw(step.sampled));
   work.cancel();            // the promise then resolves to null
   await work;               // {steps: 8}; rejects with the one-line text of an error
*/

/* The page also calls some of the engine's functions itself: SCHEDULES and mask_plan for curves and counts, `dilated`
   to grow a region. Whatever runs a model belongs in the worker.
*/

/* Start a worker with the models. Two of them race: each has its own thread and its own copy of the weights. */
async function start_engine() {
  const settings = page_settings(), packed = decode_base64(document.getElementById("weights").textContent);
  const post = connect((answer) => hear(answer)), waiting = new Map();
  let requests = 0;

  function hear({ id, type, ...answer }) {
    const { each, resolve, reject } = waiting.get(id);
    if (type === "step") return each(answer);
    waiting.delete(id);
    if (type === "error") reject(new Error(answer.text));
    else resolve(type === "cancelled" ? null : answer);
  }

  function ask(type, fields = {}, each = () => {}) {
    const id = ++requests;
    const work = new Promise((resolve, reject) => waiting.set(id, { each, resolve, reject }));
    post({ id, type, ...fields });
    return Object.assign(work, { cancel: () => post({ type: "cancel", of: id }) });
  }

  await ask("load", { packed, settings });
  return { ask, settings };
}

/* What playground.py knows about the run: class names, the models' shapes, decoders, settings. */
const page_settings = () => JSON.parse(document.getElementById("settings").textContent);

/* A function that sends requests to a new worker, made of the page's own script; without workers, to this thread. */
function connect(hear) {
  const unanswered = [];
  const this_thread = () => {
    const receive = serve(hear);
    return (request) => setTimeout(() => receive(request));
  };
  let post;
  try {
    const engine = document.getElementById("engine").textContent;
    const worker = new Worker(URL.createObjectURL(new Blob([engine], { type: "text/javascript" })));
    post = (request) => {
      unanswered.push(request);
      worker.postMessage(request);
    };
    worker.onmessage = ({ data }) => {
      unanswered.length = 0;
      hear(data);
    };
    worker.onerror = () => { // where a page's host forbids workers, it says so only now
      post = this_thread();
      unanswered.splice(0).forEach(post);
    };
  } catch {
    post = this_thread();
  }
  return (request) => post(request);
}

function decode_base64(text) {
  const letters = atob(text.trim()), bytes = new Uint8Array(letters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes.buffer;
}
