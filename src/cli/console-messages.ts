import type { Inbox, InboxEntry } from '../providers/inbox.ts';

const WIDTH_CHARS = 72;

/**
 * Shows on the terminal what went to the inbox, in a frame: the old back ends that dialects stand in for did so, and
 * their developers look there. Development mode alone has an inbox; nothing of this goes through the log.
 */
export function showOnConsole(inbox: Inbox, write: (text: string) => void): void {
  inbox.subscribe((event) => {
    if (event.kind === 'arrived') write(frame(event.entry));
  });
}

/** Open at its right side: how wide a line of Arabic or Chinese gets, only the terminal knows. */
function frame({ channel, to, text }: InboxEntry): string {
  const line = '─'.repeat(WIDTH_CHARS);
  const lines = [`${channel} to ${to}`, '', ...text.split('\n')].map((each) => `│ ${each}`);
  return `\n┌${line}\n${lines.join('\n')}\n└${line}\n`;
}
