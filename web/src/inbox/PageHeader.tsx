import { ColorSchemeToggle } from '../theme/ColorSchemeToggle.tsx';
import { ConnectionStatus } from './ConnectionStatus.tsx';
import mark from './favicon.svg';
import type { InboxState } from './inbox-state.ts';
import classes from './PageHeader.module.css';

export function PageHeader({ connection }: Pick<InboxState, 'connection'>) {
  return (
    <header className={classes.header}>
      <img className={classes.mark} src={mark} alt="" width={40} height={40} />
      <div className={classes.names}>
        <h1 className={classes.title}>Inbox</h1>
        <p className={classes.product}>
          Countersign<span className={classes.mode}> · development mode</span>
        </p>
      </div>
      <div className={classes.tools}>
        <ConnectionStatus connection={connection} />
        <ColorSchemeToggle />
      </div>
    </header>
  );
}
