import { memo } from 'react';
import { CopyButton } from '../clipboard/CopyButton.tsx';
import { Icon } from '../theme/Icon.tsx';
import { describeChannel } from './channels.ts';
import type { Message } from './inbox-api.ts';
import { describeLanguage } from './languages.ts';
import classes from './MessageCard.module.css';
import { RelativeTime } from './RelativeTime.tsx';

type MessageCardProps = {
  readonly message: Message;
  /** Came while the page was open: it is let in gently. */
  readonly isArrival: boolean;
  readonly isCopied: boolean;
  readonly onCopy: (message: Message) => void;
};

export const MessageCard = memo(function MessageCard({ message, isArrival, isCopied, onCopy }: MessageCardProps) {
  const { code, locale, text, to_formatted: number } = message;
  const channel = describeChannel(message.channel);
  const headingId = `to-${message.id}`;
  return (
    // The arrow keys move between the messages; Tab goes on to their buttons.
    <article
      className={classes.card}
      tabIndex={-1}
      aria-labelledby={headingId}
      data-message={message.id}
      data-arrival={isArrival}
    >
      <header className={classes.head}>
        <h3 className={classes.number} id={headingId}>
          <bdi dir="ltr">{number}</bdi>
        </h3>
        <span className={classes.fact}>
          <Icon name={channel.icon} size={15} />
          {channel.name}
        </span>
        <span className={classes.fact} title={locale}>
          {describeLanguage(locale)}
        </span>
        <RelativeTime className={classes.time} at={message.at} />
      </header>
      {code !== undefined && (
        <div className={classes.well}>
          <p className={classes.code} dir="ltr">
            {code}
          </p>
          <CopyButton what={`code ${code}`} isCopied={isCopied} onCopy={() => onCopy(message)} />
        </div>
      )}
      <p className={classes.text} dir="auto" lang={locale}>
        {text}
      </p>
    </article>
  );
});
