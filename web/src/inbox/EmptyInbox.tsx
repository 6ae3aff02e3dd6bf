import { CopyButton } from '../clipboard/CopyButton.tsx';
import { curlLine } from './curl-line.ts';
import classes from './EmptyState.module.css';
import type { Example } from './inbox-api.ts';

type EmptyInboxProps = {
  readonly example: Example;
  readonly isCopied: boolean;
  readonly onCopy: (line: string) => void;
};

export function EmptyInbox({ example, isCopied, onCopy }: EmptyInboxProps) {
  const line = curlLine(example, window.location);
  return (
    <section className={classes.panel} aria-labelledby="empty">
      <h2 className={classes.title} id="empty">
        No messages yet
      </h2>
      <p className={classes.text}>
        In development mode no message leaves this machine: what would go out to phones shows up here at once. Start a
        verification to see one.
      </p>
      <div className={classes.example}>
        <pre className={classes.line} dir="ltr">
          <code>{line}</code>
        </pre>
        <CopyButton what="the curl line" isCopied={isCopied} onCopy={() => onCopy(line)} />
      </div>
    </section>
  );
}
