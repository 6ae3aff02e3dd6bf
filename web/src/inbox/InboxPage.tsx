import { useLocalStorage } from '@mantine/hooks';
import { useCallback, useMemo, useRef } from 'react';
import { useCopy } from '../clipboard/use-copy.ts';
import { Announcer, useAnnouncer } from './Announcer.tsx';
import { describeChannel } from './channels.ts';
import { EmptyFilter } from './EmptyFilter.tsx';
import { EmptyInbox } from './EmptyInbox.tsx';
import { FilterField } from './FilterField.tsx';
import classes from './InboxPage.module.css';
import type { Message } from './inbox-api.ts';
import { KeyboardHelp } from './KeyboardHelp.tsx';
import { MessageList } from './MessageList.tsx';
import { matchesNumber } from './number-filter.ts';
import { PageHeader } from './PageHeader.tsx';
import { useInbox } from './use-inbox.ts';
import { useNumberFilter } from './use-number-filter.ts';
import { useShortcuts } from './use-shortcuts.ts';
import { useUnreadTitle } from './use-unread-title.ts';

const exampleKey = 'example';

export function InboxPage() {
  const filterField = useRef<HTMLInputElement>(null);
  const main = useRef<HTMLElement>(null);
  const list = useRef<HTMLOListElement>(null);
  const { said, announce } = useAnnouncer();
  const { copiedKey, copy } = useCopy(announce);
  const [filter, setFilter] = useNumberFilter();
  const [withLetters, setWithLetters] = useLocalStorage({
    key: 'countersign-inbox-letters',
    defaultValue: true,
    getInitialValueInEffect: false,
  });

  const countUnread = useUnreadTitle();
  const onArrival = useCallback(
    (message: Message) => {
      countUnread();
      announce(`${describeChannel(message.channel).name} to ${message.to_formatted}: ${message.code ?? message.text}`);
    },
    [countUnread, announce],
  );
  const { messages, arrivedIds, example, connection, clear } = useInbox(onArrival);
  const visible = useMemo(() => messages.filter(({ to }) => matchesNumber(to, filter)), [messages, filter]);

  const copyCode = useCallback(
    ({ id, code }: Message) => {
      if (code !== undefined) void copy(id, code, `code ${code}`);
    },
    [copy],
  );
  const showAll = () => {
    setFilter('');
    main.current?.focus();
  };
  const clearAll = async () => {
    try {
      await clear();
      announce('All messages cleared');
      // The button is gone with the messages, and the keyboard's place with it.
      main.current?.focus();
    } catch {
      announce('The messages could not be cleared');
    }
  };

  const shortcuts = useMemo(() => {
    const articles = () => [...(list.current?.querySelectorAll('article') ?? [])];
    const focusedIndex = () => articles().findIndex((article) => article.contains(document.activeElement));
    return {
      focusFilter: () => {
        filterField.current?.focus();
        filterField.current?.select();
      },
      clearFilter: () => setFilter(''),
      copyNewest: () => {
        const newest = visible.find(({ code }) => code !== undefined);
        if (newest === undefined) announce('There is no code to copy');
        else copyCode(newest);
      },
      copyFocused: () => {
        const focused = visible[focusedIndex()];
        if (focused !== undefined) copyCode(focused);
      },
      focusNext: () => articles()[focusedIndex() + 1]?.focus(),
      focusPrevious: () => articles()[focusedIndex() - 1]?.focus(),
    };
  }, [visible, copyCode, announce, setFilter]);
  useShortcuts(shortcuts, withLetters);

  return (
    <div className={classes.page}>
      <PageHeader connection={connection} />
      <main className={classes.main} ref={main} tabIndex={-1}>
        <FilterField ref={filterField} value={filter} onChange={setFilter} />
        {visible.length > 0 && (
          <MessageList
            ref={list}
            messages={visible}
            total={messages.length}
            arrivedIds={arrivedIds}
            copiedKey={copiedKey}
            onCopy={copyCode}
            onClear={() => void clearAll()}
          />
        )}
        {visible.length === 0 && messages.length > 0 && (
          <EmptyFilter filter={filter} hidden={messages.length} onClear={showAll} />
        )}
        {messages.length === 0 && example !== undefined && (
          <EmptyInbox
            example={example}
            isCopied={copiedKey === exampleKey}
            onCopy={(line) => void copy(exampleKey, line, 'the curl line')}
          />
        )}
      </main>
      <KeyboardHelp withLetters={withLetters} onToggleLetters={() => setWithLetters(!withLetters)} />
      <Announcer said={said} />
    </div>
  );
}
