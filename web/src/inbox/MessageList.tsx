import { Button } from '@mantine/core';
import type { Ref } from 'react';
import { Icon } from '../theme/Icon.tsx';
import type { Message } from './inbox-api.ts';
import { MessageCard } from './MessageCard.tsx';
import classes from './MessageList.module.css';

type MessageListProps = {
  readonly ref: Ref<HTMLOListElement>;
  readonly messages: readonly Message[];
  /** How many there are without the filter. */
  readonly total: number;
  readonly arrivedIds: ReadonlySet<string>;
  readonly copiedKey: string | undefined;
  readonly onCopy: (message: Message) => void;
  readonly onClear: () => void;
};

export function MessageList({ ref, messages, total, arrivedIds, copiedKey, onCopy, onClear }: MessageListProps) {
  return (
    <section aria-labelledby="messages">
      <div className={classes.head}>
        <h2 className={classes.count} id="messages">
          {messages.length === total ? '' : `${messages.length} of `}
          {total} {total === 1 ? 'message' : 'messages'}
        </h2>
        <Button
          className={classes.clear ?? ''}
          variant="subtle"
          color="green"
          size="xs"
          leftSection={<Icon name="trash" size={16} />}
          onClick={onClear}
        >
          Clear all
        </Button>
      </div>
      {/* biome-ignore lint/a11y/noRedundantRoles: Safari takes the role from lists without bullets */}
      <ol className={classes.list} ref={ref} role="list">
        {messages.map((message) => (
          <li className={classes.item} key={message.id}>
            <MessageCard
              message={message}
              isArrival={arrivedIds.has(message.id)}
              isCopied={copiedKey === message.id}
              onCopy={onCopy}
            />
          </li>
        ))}
      </ol>
    </section>
  );
}
