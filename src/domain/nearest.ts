/** `; did you mean …?` behind a sentence about an unknown name, or what there is when nothing is near. */
export function nearestTo(key: string, known: readonly string[]): string {
  const [nearest] = known
    .map((name) => ({ name, steps: distance(key.toLowerCase(), name.toLowerCase()) }))
    .sort((a, b) => a.steps - b.steps);
  if (nearest === undefined) return '';
  const isClose = nearest.steps <= Math.max(2, key.length / 3);
  return isClose ? `; did you mean ${nearest.name}?` : `; there are: ${known.join(', ')}`;
}

/** How many single letters have to be put in, taken out or changed to make `a` into `b` (Levenshtein). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
