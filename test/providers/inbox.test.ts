import { describe, expect, it } from 'vitest';
import type { PhoneNumber } from '../../src/domain/phone-number.ts';
import { channels } from '../../src/domain/provider.ts';
import { createHttpClient } from '../../src/provider-kit/http-client.ts';
import { createInbox, type InboxEvent, inboxProvider, matchesNumber } from '../../src/providers/inbox.ts';
import { matchesNumber as matchesNumberInPage } from '../../web/src/inbox/number-filter.ts';

const T0 = Date.UTC(2026, 0, 15, 12);
const signal = new AbortController().signal;

describe('inbox', () => {
  it('accepts every message under its own id', async () => {
    const inbox = createInbox({ now: () => T0 });
    expect(await inbox.send(message('123456'), signal)).toEqual({ kind: 'accepted', providerMessageId: 'msg_1' });
    expect(inbox.list()).toEqual([
      {
        id: expect.any(String),
        messageId: 'msg_1',
        at: T0,
        to: '+12125550123',
        channel: 'sms',
        locale: 'en',
        text: '123456',
        code: '123456',
      },
    ]);
  });

  it('keeps the last 500 messages, newest first', async () => {
    const inbox = createInbox({ now: () => T0 });
    for (let count = 1; count <= 501; count += 1) await inbox.send(message(`message ${count}`), signal);
    const texts = inbox.list().map(({ text }) => text);
    expect(texts).toHaveLength(500);
    expect([texts[0], texts.at(-1)]).toEqual(['message 501', 'message 2']);
  });

  it.each([
    ['Your code is 042917.', '042917'],
    ['رمزك هو 135790', '135790'],
    ['<#> 1234 is your code\nFA+9qCX9VSu', '1234'],
    ['Call +998901234567, code 4711', '4711'],
    ['Your table for 12 is ready', undefined],
    ['Order 12345678901 is on its way', undefined],
  ])('finds the code in %j', async (text, code) => {
    const inbox = createInbox({ now: () => T0 });
    await inbox.send(message(text), signal);
    expect(inbox.list()[0]?.code).toBe(code);
  });

  it('tells its listeners of arrivals and clearings until they leave', async () => {
    const inbox = createInbox({ now: () => T0 });
    const events: InboxEvent[] = [];
    const leave = inbox.subscribe((event) => events.push(event));
    await inbox.send(message('1111'), signal);
    inbox.clear();
    leave();
    await inbox.send(message('2222'), signal);
    expect(events.map(({ kind }) => kind)).toEqual(['arrived', 'cleared']);
  });

  it('is one provider for all channels, the same that the page reads', async () => {
    const inbox = createInbox({ now: () => T0 });
    const definition = inboxProvider(inbox);
    const http = createHttpClient(() => T0);
    expect(definition.channels).toEqual(channels);
    expect(await definition.create({}, { now: () => T0, http })).toBe(inbox);
  });
});

describe.each([
  ['server', matchesNumber],
  ['page', matchesNumberInPage],
])('number filter of the %s', (_where, matches) => {
  it.each([
    ['+998 (90) 123-45-67', true],
    ['998901234567', true],
    ['00 998 90 123 45 67', true],
    ['090 123 45 67', true],
    ['4567', true],
    ['٩٠١٢٣٤٥٦٧', true],
    ['۹۰۱۲۳۴۵۶۷', true],
    [' +', true],
    ['', true],
    ['+998 (0) 90 123 45 67', true],
    ['\u202a+998 90 123\u201145\u201167\u202c', true],
    ['1', true],
    ['+1', false],
    ['902', false],
    ['undefined', false],
  ])('%j finds +998901234567: %j', (query, isFound) => {
    expect(matches('+998901234567', query)).toBe(isFound);
  });
});

function message(text: string) {
  const to = '+12125550123' as PhoneNumber;
  return { messageId: 'msg_1', to, channel: 'sms', brand: 'Acme', locale: 'en', text, validitySeconds: 300 } as const;
}
