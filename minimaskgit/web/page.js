/* The page: what a person sees and does. */

async function main() {
  const say = (text) => (document.getElementById("status").textContent = text);
  const engine = await start_engine(), play = document.getElementById("play");
  const show = ({ width, height, data }) => {
    const canvas = Object.assign(document.getElementById("picture"), { width, height });
    canvas.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
  };
  play.disabled = false;
  play.onclick = () => engine.ask("decode", { label: 0, pictures: true }, ({ step, milliseconds, picture }) => {
    show(picture);
    say(`step ${step}, ${Math.round(milliseconds)} ms`);
  });
  play.click();
}

main().catch((error) => (document.getElementById("status").textContent = error.message));
