/* Mask schedules gamma(r): the fraction of tokens masked at progress r (schedules.py).

   r in [0, 1] and the number of tokens N (only the exponential and the logarithmic use it) -> gamma in [0, 1]
*/

const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

const SCHEDULES = {
  cosine: (r, N) => clamp(Math.cos((Math.PI / 2) * r), 0, 1),
  linear: (r, N) => 1 - r,
  square: (r, N) => 1 - r * r,
  cubic: (r, N) => 1 - r * r * r,
  exponential: (r, N) => 1 - Math.pow(Math.max(N, 2), r - 1),
  square_root: (r, N) => 1 - Math.sqrt(r),
  logarithmic: (r, N) => clamp(-Math.log(r) / Math.log(Math.max(N, 2)), 0, 1),
  bert: (r, N) => 0.15,
};

/* A schedule drawn by hand: its values at equal distances of r, from r = 0 to r = 1, with straight lines between. */
function drawn(values) {
  return (r, N) => {
    const at = r * (values.length - 1), left = Math.min(Math.floor(at), values.length - 2);
    return values[left] + (at - left) * (values[left + 1] - values[left]);
  };
}
