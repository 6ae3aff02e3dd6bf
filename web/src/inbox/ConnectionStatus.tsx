import classes from './ConnectionStatus.module.css';
import type { InboxState } from './inbox-state.ts';

const words = { connecting: 'Connecting …', live: 'Live', lost: 'Reconnecting …' } as const;

export function ConnectionStatus({ connection }: Pick<InboxState, 'connection'>) {
  return (
    <p className={classes.status} data-connection={connection} role="status">
      <span className={classes.dot} />
      {words[connection]}
    </p>
  );
}
