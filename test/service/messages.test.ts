import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { failed } from '../../src/index.ts';
import { HOUR, NUMBER, openBench } from './service-bench.ts';

describe('a custom message', () => {
  it('is sent as it is read: typographic characters that only cost segments are replaced', async () => {
    const { countersign, clock, fake } = await openBench();
    const answer = await countersign.messages.send({ to: '90 123 45 67', text: '“Your driver” is here…' });
    expect(fake.received[0]).toMatchObject({ to: NUMBER, text: '"Your driver" is here...', validitySeconds: 14_400 });
    expect(answer).toEqual({
      kind: 'sent',
      message: {
        id: expect.stringMatching(/^msg_\w{26}$/),
        status: 'queued',
        to: NUMBER,
        country: 'UZ',
        channel: 'sms',
        encoding: 'GSM-7',
        segments: 1,
        verificationId: undefined,
        text: '"Your driver" is here...',
        createdAt: clock.now,
        dispatches: [expect.objectContaining({ provider: 'fake', state: 'queued' })],
      },
    });
  });

  it('is read back with its text, which lies sealed in the database', async () => {
    const { countersign, dataDir } = await openBench();
    const text = 'Ваш водитель на месте';
    const answer = await countersign.messages.send({ to: NUMBER, text });
    const id = answer.kind === 'sent' ? answer.message.id : '';
    expect(await countersign.messages.get({ id })).toMatchObject({ message: { text, encoding: 'UCS-2' } });
    expect(await countersign.messages.list({ to: '901234567' })).toMatchObject({ messages: [{ id, text }] });
    for (const file of readdirSync(dataDir)) expect(readFileSync(join(dataDir, file)).includes(text)).toBe(false);
    expect(await countersign.messages.get({ id: 'msg_nothing' })).toMatchObject({ code: 'message-unknown' });
  });

  it.each([
    [{ text: '' }, 'text-invalid'],
    [{ text: ' \u200b ' }, 'text-invalid'],
    [{ text: 'x'.repeat(1601) }, 'text-invalid'],
    [{ to: '123' }, 'number-invalid'],
    [{ to: '+998712345678' }, 'line-type-refused'],
    [{ channel: 'telegram' as const }, 'no-provider'],
  ])('is refused, and not counted: %j', async (fault, code) => {
    const { countersign, fake } = await openBench({
      limits: { messagesPerNumber: [{ max: 1, windowSeconds: 3600 }] },
    });
    const good = { to: NUMBER, text: 'Hello' };
    expect(await countersign.messages.send({ ...good, ...fault })).toMatchObject({ kind: 'refused', code });
    expect(await countersign.messages.send(good)).toMatchObject({ kind: 'sent' });
    expect(fake.received).toHaveLength(1);
  });

  it('has a limit of its own: exactly k of fifty at once, and codes still go out (invariant 7)', async () => {
    const { countersign, fake } = await openBench({
      limits: { messagesPerNumber: [{ max: 6, windowSeconds: 3600 }], perNumber: [{ max: 1, windowSeconds: 3600 }] },
    });
    const answers = await Promise.all(
      Array.from({ length: 50 }, () => countersign.messages.send({ to: NUMBER, text: 'Hello' })),
    );
    expect(answers.filter(({ kind }) => kind === 'sent')).toHaveLength(6);
    expect(answers.find(({ kind }) => kind === 'refused')).toMatchObject({ code: 'rate-limited', retryAfterMs: HOUR });
    expect(await countersign.verifications.start({ to: NUMBER })).toMatchObject({ kind: 'started' });
    expect(fake.received).toHaveLength(7);
  });

  it('that nobody takes says so', async () => {
    const { countersign, fake } = await openBench();
    fake.answer = async () => failed('recipient', '21211');
    expect(await countersign.messages.send({ to: NUMBER, text: 'Hello' })).toMatchObject({ code: 'recipient-refused' });
  });

  it('is listed newest first, in pages, between those of codes, whose texts nobody is shown', async () => {
    const { countersign, clock } = await openBench();
    for (const text of ['one', 'two', 'three']) {
      await countersign.messages.send({ to: NUMBER, text });
      clock.advance(1000);
    }
    await countersign.verifications.start({ to: NUMBER });
    const page = async (before?: string) => {
      const listed = await countersign.messages.list({ limit: 2, ...(before === undefined ? {} : { before }) });
      return listed.kind === 'found' ? listed.messages : [];
    };
    const first = await page();
    const second = await page(first[1]?.id);
    expect([...first, ...second].map(({ text }) => text)).toEqual([undefined, 'three', 'two', 'one']);
    expect(first[0]?.verificationId).toMatch(/^ver_/);
    expect(await page(second[1]?.id)).toEqual([]);
  });
});

describe('a number', () => {
  it('is told apart by the digits it has', async () => {
    const { countersign } = await openBench();
    expect(countersign.numbers.parse({ to: '90 123-45-67' })).toEqual({
      kind: 'parsed',
      number: { number: NUMBER, country: 'UZ', lineType: 'mobile', national: '90 123 45 67', locale: 'uz' },
    });
    expect(countersign.numbers.parse({ to: '12' })).toMatchObject({ code: 'number-invalid', field: 'to' });
  });
});
