const units = [
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
  ['second', 1],
] as const;

const format = new Intl.RelativeTimeFormat('en', { numeric: 'always', style: 'short' });

/** `just now`, `12 sec. ago`, `3 min. ago`: a message is never from the future, whatever the two clocks say. */
export function relativeTime(at: number, now: number): string {
  const seconds = Math.floor((now - at) / 1000);
  if (seconds < 5) return 'just now';
  const [unit, length] = units.find(([, secondsIn]) => seconds >= secondsIn) ?? ['second', 1];
  return format.format(-Math.floor(seconds / length), unit);
}
