import { Type } from 'typebox';
import type { PhoneNumber } from '../domain/phone-number.ts';
import { type Channel, channels, type MessagingProvider, type OutgoingMessage } from '../domain/provider.ts';
import { INBOX } from '../domain/route.ts';
import { accepted, defineProvider, type ProviderContext } from '../provider-kit/define-provider.ts';

/** One message that stopped here instead of going out. */
export type InboxEntry = {
  /** The inbox's own id, see `InboxEvent`. A message that was handed over twice is two entries. */
  readonly id: string;
  readonly messageId: string;
  /** ms since the epoch */
  readonly at: number;
  readonly to: PhoneNumber;
  readonly channel: Channel;
  readonly locale: string;
  readonly text: string;
  /** The code in the text, when there is one. */
  readonly code?: string;
};

/** `id` orders the events of one run of the process; an id of an earlier run is told apart. */
export type InboxEvent =
  | { readonly kind: 'arrived'; readonly id: string; readonly entry: InboxEntry }
  | { readonly kind: 'cleared'; readonly id: string };

/** The provider of development mode: it delivers into memory, where a developer can read. */
export interface Inbox extends MessagingProvider {
  /** What is kept, newest first; with `number` only what went to a number with these digits, see `matchesNumber`. */
  list(filter?: { readonly number?: string }): readonly InboxEntry[];
  /** What happened after the event `id`; everything that is kept when the id is of an earlier run, or of nobody. */
  eventsAfter(id: string): readonly InboxEvent[];
  /** @returns ends the subscription */
  subscribe(listener: (event: InboxEvent) => void): () => void;
  clear(): void;
}

export function createInbox({ now }: Pick<ProviderContext, 'now'>, capacity = 500): Inbox {
  const run = now().toString(36);
  const listeners = new Set<(event: InboxEvent) => void>();
  let entries: InboxEntry[] = []; // oldest first
  let lastNumber = 0;
  let clearedNumber = 0;

  const idOf = (number: number) => `${run}-${number}`;
  const numberOf = (id: string) => (id.startsWith(`${run}-`) ? Number(id.slice(run.length + 1)) : Number.NaN);
  const arrival = (entry: InboxEntry): InboxEvent => ({ kind: 'arrived', id: entry.id, entry });
  const publish = (event: InboxEvent) => {
    for (const listener of listeners) listener(event);
  };

  return {
    async send(message) {
      lastNumber += 1;
      const entry = entryOf(message, idOf(lastNumber), now());
      entries = [...entries.slice(-(capacity - 1)), entry];
      publish(arrival(entry));
      return accepted(message.messageId);
    },

    list({ number } = {}) {
      const found = number === undefined ? entries : entries.filter((entry) => matchesNumber(entry.to, number));
      return found.toReversed();
    },

    eventsAfter(id) {
      const number = numberOf(id);
      if (!Number.isInteger(number) || number > lastNumber) return entries.map(arrival);
      const arrivals = entries.filter((entry) => numberOf(entry.id) > number).map(arrival);
      return clearedNumber > number ? [{ kind: 'cleared', id: idOf(clearedNumber) }, ...arrivals] : arrivals;
    },

    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },

    clear() {
      entries = [];
      lastNumber += 1;
      clearedNumber = lastNumber;
      publish({ kind: 'cleared', id: idOf(clearedNumber) });
    },
  };
}

/** The inbox as a provider that routes can name. The routes of the page are given the same `inbox`. */
export function inboxProvider(inbox: Inbox) {
  return defineProvider({
    id: INBOX,
    kind: 'messaging',
    channels,
    settings: Type.Object({}, { additionalProperties: false }),
    environment: {},
    create: () => inbox,
  });
}

/**
 * Is `to` a number that somebody means by `query`? Only digits count, in whichever script. Behind `+` or `00` they are
 * how the number begins, else a part of it, wherever; a trunk zero in front (`090 …`) is no part of the number.
 * An empty query matches every number, one with letters none.
 */
export function matchesNumber(to: string, query: string): boolean {
  // Format characters come along when a number is copied out of a right-to-left text.
  const wanted = latinDigits(query.replace('(0)', '')).replace(/[\s\p{Cf}\p{Pd}()./]/gu, '');
  const parts = /^(\+|00|0)?(\d*)$/.exec(wanted);
  if (parts === null) return false;
  const [, prefix, digits = ''] = parts;
  return prefix === '+' || prefix === '00' ? to.startsWith(`+${digits}`) : to.includes(digits);
}

/** Arabic, Persian and full-width digits as ASCII: in all three blocks the last four bits are the digit. */
function latinDigits(text: string): string {
  return text.replace(/[٠-٩۰-۹０-９]/g, (digit) => String(digit.charCodeAt(0) & 0xf));
}

function entryOf(message: OutgoingMessage, id: string, at: number): InboxEntry {
  const code = findCode(message.text);
  return {
    id,
    messageId: message.messageId,
    at,
    to: message.to,
    channel: message.channel,
    locale: message.locale,
    text: message.text,
    ...(code === undefined ? {} : { code }),
  };
}

/**
 * The first run of 4 to 10 digits. A provider is handed the text alone, so this is a guess that serves the eye:
 * in a custom message it may be some other number, and the text is shown beside it. A longer run is a phone number.
 */
function findCode(text: string): string | undefined {
  return /(?<![\d+])\d{4,10}(?!\d)/.exec(text)?.[0];
}
