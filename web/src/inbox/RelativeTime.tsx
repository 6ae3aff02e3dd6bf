import { relativeTime } from './relative-time.ts';
import { useNow } from './use-now.ts';

/** How long ago, and still true a minute later. */
export function RelativeTime({ at, className }: { readonly at: string; readonly className: string | undefined }) {
  const now = useNow();
  const date = new Date(at);
  return (
    <time className={className} dateTime={at} title={date.toLocaleString()}>
      {relativeTime(date.getTime(), now)}
    </time>
  );
}
