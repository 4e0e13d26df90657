// Recordings: where a place on a spectrogram lies in time and frequency, and a cursor that follows the sound.

// Of a figure: seconds and Hz of a place, in columns and rows; nothing, if it is a picture.
function heardIn(figure) {
  if (!figure.dataset.step) return null;
  const step = Number(figure.dataset.step);
  const hertz = figure.dataset.hertz.split(" ").map(Number);
  const rows = hertz.length - 2;
  const knot = (at) => (at === 0 ? 0 : at === hertz.length - 1 ? rows : at - 0.5);
  // Frequencies are spread evenly between peaks, which are the middles of rows.
  const pitch = (row) => {
    let at = 1;
    while (at < hertz.length - 1 && row > knot(at)) at++;
    const share = Math.min(1, Math.max(0, (row - knot(at - 1)) / (knot(at) - knot(at - 1))));
    return hertz[at - 1] + (hertz[at] - hertz[at - 1]) * share;
  };
  return {
    seconds: (column) => column * step,
    pitch,
    told: ([x0, y0, x1, y1]) => `${round(x0 * step, 3)}\u2013${round(x1 * step, 3)} s, ${round(pitch(y1), 0)}\u2013${round(pitch(y0), 0)} Hz`,
  };
}

const round = (value, places) => String(Math.round(value * 10 ** places) / 10 ** places);

// The cursor stands where the sound is; a press on the spectrogram moves both.
function sounds() {
  for (const figure of document.querySelectorAll("figure.heard")) {
    const audio = figure.querySelector("audio");
    if (!audio) continue;
    const [stage, cursor] = [figure.querySelector(".stage"), figure.querySelector(".cursor")];
    const whole = Number(figure.dataset.step) * Number(figure.querySelector("canvas").dataset.width);
    const stand = () => {
      cursor.hidden = audio.currentTime === 0 && audio.paused;
      cursor.style.left = `${Math.min(100, (100 * audio.currentTime) / whole)}%`;
    };
    const follow = () => {
      stand();
      if (!audio.paused) requestAnimationFrame(follow);
    };
    audio.addEventListener("play", follow);
    for (const event of ["seeked", "timeupdate", "pause", "ended"]) audio.addEventListener(event, stand);
    stage.addEventListener("click", (event) => {
      const frame = stage.getBoundingClientRect();
      audio.currentTime = Math.min(audio.duration || 0, ((event.clientX - frame.left) / frame.width) * whole);
    });
  }
}
