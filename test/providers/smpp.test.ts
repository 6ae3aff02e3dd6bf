import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { measureText } from '../../src/domain/message-text.ts';
import type { DeliveryReport, MessagingProvider } from '../../src/domain/provider.ts';
import { createHttpClient } from '../../src/provider-kit/http-client.ts';
import { loadSmpp } from '../../src/providers/smpp/library.ts';
import { encodeSmppText, smpp } from '../../src/providers/smpp.ts';
import type { DeliveryStep } from '../../src/simulators/simulator-kit.ts';
import {
  type SmppSimulator,
  type SmppSimulatorOptions,
  smppSimulator,
  startSmppSimulator,
} from '../../src/simulators/smpp.ts';
import { benchOf, describeProvider, outgoingMessage } from '../provider-kit/provider-suite.ts';

type Settings = Parameters<typeof smpp.create>[0];

const NOW = Date.UTC(2026, 10, 20, 15, 0, 0);
const settingsAt = (baseUrl: string) => ({
  baseUrl,
  systemId: 'countersign',
  password: 'test-pwd',
  from: 'Acme',
  reasons: { '0x0401': 'account' as const },
});
const soon = () => AbortSignal.timeout(5000);
const library = await loadSmpp();

describeProvider('smpp', {
  definition: smpp,
  open: async () => benchOf(await smppSimulator.start()),
  settings: settingsAt,
  wrongSettings: (url) => ({ ...settingsAt(url), password: 'wrong-pw' }),
  reasons: { 'bad-number': ['coverage'] },
  cannot: {
    'refuse-inside-2xx': 'an answer has one status, and no second one inside',
    credentials: 'they are looked at when the connection is bound, and not again',
    empty: 'an answer without fields is one without an id (no-id), and that to enquire_link has none anyway',
    redirect: 'the protocol has none',
    'stall-in-body': 'half a packet blocks all that follow it: the link is made anew, see below',
  },
  hasProbe: true,
  reports: 'none',
});

describe('smpp', () => {
  let simulator: SmppSimulator;
  let opened: MessagingProvider[];
  let reports: DeliveryReport[];
  let arrived: (() => void)[];
  const http = createHttpClient(Date.now);

  beforeEach(() => {
    [opened, reports, arrived] = [[], [], []];
  });
  afterEach(async () => {
    vi.useRealTimers();
    for (const provider of opened) await provider.close?.();
    await simulator.close();
  });

  async function start(options: SmppSimulatorOptions = {}): Promise<void> {
    simulator = await startSmppSimulator(options);
  }

  async function open(over: Partial<Settings> = {}): Promise<MessagingProvider> {
    const provider = await smpp.create({ ...settingsAt(simulator.url), ...over }, { now: () => NOW, http });
    opened.push(provider);
    provider.onReport?.((report) => {
      reports.push(report);
      for (const arrive of arrived) arrive();
    });
    return provider;
  }

  const reported = (count: number) =>
    new Promise<void>((resolve) => {
      const look = () => reports.length >= count && resolve();
      arrived.push(look);
      look();
    });

  async function send(provider: MessagingProvider, over: Parameters<typeof outgoingMessage>[0] = {}) {
    return provider.send(outgoingMessage(over), soon());
  }

  async function sendAndGetId(provider: MessagingProvider, over = {}): Promise<string> {
    const outcome = await send(provider, over);
    if (outcome.kind !== 'accepted') throw new Error(outcome.code);
    return outcome.providerMessageId;
  }

  const submitted = (index = -1) => simulator.requests.at(index)?.json as Record<string, unknown>;

  describe('submit_sm', () => {
    beforeEach(() => start());

    it('carries number, sender, validity, coding, and asks for a receipt', async () => {
      const outcome = await send(await open());
      expect(outcome).toMatchObject({ kind: 'accepted', segments: 1 });
      expect(submitted()).toMatchObject({
        command: 'submit_sm',
        source_addr_ton: 5,
        source_addr_npi: 0,
        source_addr: 'Acme',
        dest_addr_ton: 1,
        dest_addr_npi: 1,
        destination_addr: '998901234567',
        esm_class: 0,
        registered_delivery: 1,
        data_coding: 0,
        short_message: { message: 'Your code is 830417' },
      });
    });

    it.each([
      ['Acme', {}, [5, 0, 'Acme']],
      ['3700', {}, [3, 0, '3700']],
      ['+998901112233', {}, [1, 1, '998901112233']],
      ['998901112233', {}, [1, 1, '998901112233']],
      [undefined, {}, [0, 0, '']],
      ['3700', { sourceTon: 0, sourceNpi: 1 }, [0, 1, '3700']],
    ])('says what kind of sender %s is, %j', async (from, over, expected) => {
      const { from: _, ...settings } = settingsAt(simulator.url);
      const provider = await smpp.create(
        { ...settings, ...(from === undefined ? {} : { from }), ...over },
        { now: () => NOW, http },
      );
      opened.push(provider);
      await send(provider);
      const { source_addr_ton, source_addr_npi, source_addr } = submitted();
      expect([source_addr_ton, source_addr_npi, source_addr]).toEqual(expected);
    });

    it.each([
      ['relative', 300, '000000000500000R'],
      ['relative', 3725, '000000010205000R'],
      ['relative', 90_000, '000000235959000R'],
      ['absolute', 300, '261120150500000+'],
      ['none', 300, ''],
    ] as const)('writes the validity, %s, of %i seconds', async (validity, validitySeconds, expected) => {
      const pdus: Buffer[] = [];
      const provider = await open({ validity });
      const toBuffer = library.PDU.prototype.toBuffer;
      // The simulator reads times into dates; what matters are the characters on the wire.
      const spy = vi.spyOn(library.PDU.prototype, 'toBuffer').mockImplementation(function (this: never) {
        const octets = toBuffer.call(this);
        pdus.push(octets);
        return octets;
      });
      await send(provider, { validitySeconds });
      spy.mockRestore();
      const submit = pdus.find((octets) => octets.readUInt32BE(4) === 4)?.toString('latin1') ?? '';
      expect(submit).toContain(`998901234567\0\0\0\0\0${expected}\0\x01`);
    });

    it('joins the parts of a long text by a header, and all of them have the same reference', async () => {
      const text = 'Код подтверждения 830417. '.repeat(6);
      expect(await send(await open(), { text })).toMatchObject({ kind: 'accepted', segments: 3 });
      expect(simulator.messages.map(({ text }) => text)).toEqual([text]);
      expect(simulator.requests.map(({ json }) => (json as Record<string, unknown>)['esm_class'])).toEqual([
        0x40, 0x40, 0x40,
      ]);
    });

    it('can carry a long text in message_payload', async () => {
      const text = 'Код подтверждения 830417. '.repeat(6);
      expect(await send(await open({ longTexts: 'payload' }), { text })).toMatchObject({ segments: 3 });
      expect(simulator.requests).toHaveLength(1);
      expect(simulator.messages[0]?.text).toBe(text);
      expect(submitted()).toMatchObject({ esm_class: 0, data_coding: 8 });
    });

    it('does not know whether a text whose second part is refused has arrived', async () => {
      const provider = await open();
      simulator.behave({ kind: 'delay', delayMs: 0 }, 'throttle');
      expect(await send(provider, { text: 'x'.repeat(200) })).toMatchObject({ reason: 'uncertain', code: '0x58' });
    });

    it.each([
      [0x01, 'content'],
      [0x04, 'unavailable'],
      [0x08, 'uncertain'],
      [0x0a, 'content'],
      [0x0b, 'coverage'],
      [0x0d, 'account'],
      [0x0e, 'account'],
      [0x0f, 'account'],
      [0x14, 'throttled'],
      [0x45, 'unavailable'],
      [0x53, 'account'],
      [0x58, 'throttled'],
      [0x62, 'content'],
      [0x64, 'unavailable'],
      [0x66, 'content'],
      [0xfe, 'unavailable'],
      [0xff, 'uncertain'],
      [0x100, 'account'],
      [0x101, 'account'],
      [0x102, 'unavailable'],
      [0x103, 'account'],
      [0x401, 'account'],
      [0x40b, 'content'],
    ])('reads the status %i as %s', async (status, reason) => {
      const provider = await open();
      simulator.behave({ kind: 'answer', answer: { status } });
      const code = `0x${status.toString(16).toUpperCase().padStart(2, '0')}`;
      expect(await send(provider)).toEqual({ kind: 'failed', reason, code });
    });
  });

  describe('the text', () => {
    // 3GPP TS 23.038, section 6.2.1, in the order of its table; 0x1B is the escape.
    const alphabet =
      '@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !"#¤%&\'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà';
    const extension = {
      '\f': 0x0a,
      '^': 0x14,
      '{': 0x28,
      '}': 0x29,
      '\\': 0x2f,
      '[': 0x3c,
      '~': 0x3d,
      ']': 0x3e,
    } as const;
    const octetsOf = (text: string) => encodeSmppText(library, text, 'm').parts.map((part) => part['short_message']);

    beforeEach(() => start());

    it('has the octets of the GSM alphabet', () => {
      const characters = [...alphabet].filter((character) => character !== '\x1b');
      for (const character of characters) {
        expect(octetsOf(character)).toEqual([Buffer.of(alphabet.indexOf(character))]);
      }
      for (const [character, octet] of [...Object.entries(extension), ['|', 0x40] as const, ['€', 0x65] as const]) {
        expect(octetsOf(character)).toEqual([Buffer.of(0x1b, octet)]);
      }
    });

    it('is UTF-16, high octet first, as soon as one character is outside', () => {
      expect(encodeSmppText(library, 'é’', 'm')).toEqual({
        dataCoding: 8,
        parts: [{ short_message: Buffer.of(0x00, 0xe9, 0x20, 0x19) }],
      });
    });

    it.each([
      ['x'.repeat(160), [160]],
      ['x'.repeat(161), [6 + 153, 6 + 8]],
      // An escape and what it escapes stay together.
      [`${'x'.repeat(152)}€${'x'.repeat(20)}`, [6 + 152, 6 + 22]],
      ['ж'.repeat(70), [140]],
      ['ж'.repeat(71), [6 + 134, 6 + 8]],
      // So do the two halves of a character outside the basic plane.
      [`${'ж'.repeat(66)}😀жжжж`, [6 + 132, 6 + 12]],
    ])('is parted as it is counted: %j', (text, lengths) => {
      const parts = octetsOf(text) as Buffer[];
      expect(parts.map((part) => part.length)).toEqual(lengths);
      expect(parts.length).toBe(measureText(text).segments);
    });

    it('has a header that numbers its parts', () => {
      const [first, second] = octetsOf('x'.repeat(161)) as Buffer[];
      expect([...(first ?? [])].slice(0, 6)).toEqual([5, 0, 3, first?.[3], 2, 1]);
      expect([...(second ?? [])].slice(0, 6)).toEqual([5, 0, 3, first?.[3], 2, 2]);
    });
  });

  describe('receipts', () => {
    const deliver = (...steps: DeliveryStep[]) => simulator.deliver(...steps);

    it.each([
      ['SCHEDULED', { state: 'queued' }],
      ['ENROUTE', { state: 'sent' }],
      ['ACCEPTD', { state: 'sent' }],
      ['DELIVRD', { state: 'delivered' }],
      ['DELIVERED', { state: 'delivered' }],
      ['EXPIRED', { state: 'undelivered', reason: 'unavailable', code: 'EXPIRED' }],
      ['UNDELIV', { state: 'undelivered', reason: 'unavailable', code: 'UNDELIV' }],
      ['DELETED', { state: 'failed', reason: 'unavailable', code: 'DELETED' }],
      ['REJECTD', { state: 'failed', reason: 'blocked', code: 'REJECTD' }],
      ['FAILED', { state: 'failed', reason: 'unavailable', code: 'FAILED' }],
      ['UNKNOWN', { state: 'unknown' }],
      ['TELEPRT', { state: 'unknown' }],
    ])('of %s are read', async (status, expected) => {
      await start();
      const provider = await open();
      deliver({ status });
      const id = await sendAndGetId(provider);
      await reported(1);
      expect(reports).toEqual([{ providerMessageId: id, ...expected }]);
      await simulator.settled();
      expect(simulator.reports).toEqual([{ id, status, answer: 200 }]);
    });

    it.each(['text', 'tlv'] as const)('are read from the %s alone', async (receiptForm) => {
      await start({ receiptForm });
      const provider = await open();
      deliver({ status: 'UNDELIV' });
      const id = await sendAndGetId(provider);
      await reported(1);
      expect(reports).toMatchObject([{ providerMessageId: id, state: 'undelivered' }]);
    });

    it('say why by the carrier’s own numbers, where they are configured', async () => {
      await start();
      const provider = await open({ receiptReasons: { '001': 'recipient' } });
      deliver({ status: 'UNDELIV', errorCode: '001' }, { status: 'UNDELIV', errorCode: '099' });
      await send(provider);
      await reported(2);
      expect(reports).toMatchObject([
        { reason: 'recipient', code: 'UNDELIV 001' },
        { reason: 'unavailable', code: 'UNDELIV 099' },
      ]);
    });

    it('find their message by a decimal id where the answer had a hexadecimal one', async () => {
      await start({ hasDecimalReceipts: true });
      const provider = await open();
      const ids = [await sendAndGetId(provider), await sendAndGetId(provider, { to: '+998907654321' as never })];
      await reported(2);
      expect(reports.map(({ providerMessageId }) => providerMessageId).toSorted()).toEqual(ids);
    });

    it('find it in the reverse case too', async () => {
      await start();
      const provider = await open();
      deliver();
      // Only digits: could be read either way.
      const id = await sendAndGetId(provider);
      expect(id).toMatch(/^1A2B/);
      simulator.push('deliver_sm', receipt(`id:${Number.parseInt(id, 16)} stat:DELIVRD err:000`));
      await reported(1);
      expect(reports).toEqual([{ providerMessageId: id, state: 'delivered' }]);
    });

    it('go by the number where an id could be that of two messages', async () => {
      await start({ firstId: 0x10, delivery: [] });
      const provider = await open();
      // 0x10 is 16, and there is a message whose id in hexadecimal digits is 16.
      const id = await sendAndGetId(provider);
      for (let count = 0; count < 6; count += 1) await send(provider, { to: '+998907654321' as never });
      simulator.push('deliver_sm', receipt('id:16 stat:DELIVRD', { source_addr: '901234567' }));
      await reported(1);
      expect(reports).toEqual([{ providerMessageId: id, state: 'delivered' }]);
      simulator.push('deliver_sm', receipt('id:22 stat:DELIVRD', { source_addr: '998907654321' }));
      await reported(2);
      expect(reports[1]).toEqual({ providerMessageId: '16', state: 'delivered' });
    });

    it.each([
      ['decimal', '1715004', { providerMessageId: '1a2b3c' }],
      ['hex', '1a2b3c', { providerMessageId: '1715004' }],
      ['same', '1A2B3C', { providerMessageId: '1A2B3C' }],
      ['auto', '1A2B3C', { providerMessageId: '1A2B3C' }],
    ] as const)(
      'of a message from before a restart keep to the notation that is set: %s',
      async (receiptIds, id, expected) => {
        await start();
        const provider = await open({ receiptIds });
        await send(provider);
        await reported(1);
        simulator.push('deliver_sm', receipt(`id:${id} stat:DELIVRD`));
        await reported(2);
        expect(reports[1]).toMatchObject(expected);
      },
    );

    it('that come before the answer are kept until it says which message they are about', async () => {
      await start({ hasDecimalReceipts: true });
      const provider = await open();
      deliver({ status: 'DELIVRD', isEarly: true });
      const id = await sendAndGetId(provider);
      await reported(1);
      expect(reports).toEqual([{ providerMessageId: id, state: 'delivered' }]);
    });

    it('are answered and handed over as often as they come, in any order', async () => {
      await start();
      const provider = await open();
      deliver({ status: 'DELIVRD', times: 2 }, { status: 'ENROUTE' });
      await send(provider);
      await reported(3);
      expect(reports.map(({ state }) => state)).toEqual(['delivered', 'delivered', 'sent']);
    });

    it('say delivered when all parts of a long text are', async () => {
      await start();
      const provider = await open();
      const id = await sendAndGetId(provider, { text: 'x'.repeat(400) });
      await reported(3);
      expect(reports.map(({ providerMessageId, state }) => `${providerMessageId} ${state}`)).toEqual([
        `${id} sent`,
        `${id} sent`,
        `${id} delivered`,
      ]);
    });

    it('that nobody listens to yet are kept', async () => {
      await start();
      const provider = await smpp.create(settingsAt(simulator.url), { now: () => NOW, http });
      opened.push(provider);
      const id = await sendAndGetId(provider);
      await simulator.settled();
      provider.onReport?.((report) => reports.push(report));
      expect(reports).toEqual([{ providerMessageId: id, state: 'delivered' }]);
    });

    it('keep characters of an id that GSM 7-bit has elsewhere', async () => {
      await start();
      await send(await open(), {});
      await reported(1);
      simulator.push('deliver_sm', receipt('id:a_b$c@1 stat:DELIVRD'));
      await reported(2);
      expect(reports[1]).toEqual({ providerMessageId: 'a_b$c@1', state: 'delivered' });
    });

    it('end the id of a TLV without its zero octet where the next TLV begins', async () => {
      await start();
      await send(await open());
      await reported(1);
      const fields = { ...receipt(''), sequence_number: 77, receipted_message_id: 'abc', message_state: 2 };
      const [before = '', after = ''] = new library.PDU('deliver_sm', fields)
        .toBuffer()
        .toString('latin1')
        .split('\x04abc\0');
      const octets = Buffer.from(`${before}\x03abc${after}`, 'latin1');
      octets.writeUInt32BE(octets.length, 0);
      simulator.pushOctets(octets);
      await reported(2);
      expect(reports[1]).toEqual({ providerMessageId: 'abc', state: 'delivered' });
    });

    it('are not made of what a person writes', async () => {
      await start();
      const provider = await open();
      deliver();
      const id = await sendAndGetId(provider);
      simulator.push('deliver_sm', receipt(`id:${id} stat:UNDELIV`, { esm_class: 0 }));
      simulator.push('deliver_sm', receipt(`id:${id} stat:DELIVRD`));
      await reported(1);
      expect(reports).toEqual([{ providerMessageId: id, state: 'delivered' }]);
    });

    function receipt(text: string, over = {}) {
      return {
        source_addr: '998901234567',
        esm_class: 4,
        data_coding: 0,
        short_message: Buffer.from(text, 'ascii'),
        ...over,
      };
    }
  });

  describe('the link', () => {
    it('is made before the first message, without holding up the start', async () => {
      await start();
      await open();
      await simulator.bound(1);
      expect(simulator.requests).toEqual([]);
    });

    it('has no more submits under way than the window holds', async () => {
      await start();
      const provider = await open({ windowSize: 3 });
      const attempt = new AbortController();
      simulator.behaveAlways('stall');
      const outcomes = Array.from({ length: 5 }, () => provider.send(outgoingMessage(), attempt.signal));
      await simulator.received(3);
      const fourth = await provider.send(outgoingMessage(), AbortSignal.timeout(50));
      expect(fourth).toEqual({ kind: 'failed', reason: 'unavailable', code: 'timeout' });
      expect(simulator.requests).toHaveLength(3);
      attempt.abort();
      expect((await Promise.all(outcomes)).map((outcome) => outcome.kind === 'failed' && outcome.reason)).toEqual([
        'uncertain',
        'uncertain',
        'uncertain',
        'unavailable',
        'unavailable',
      ]);
    });

    it('gives places in the window to those who wait', async () => {
      await start();
      const provider = await open({ windowSize: 1 });
      const outcomes = await Promise.all(Array.from({ length: 30 }, () => send(provider)));
      expect(outcomes.every(({ kind }) => kind === 'accepted')).toBe(true);
    });

    it('is made anew after it was lost, and carries the next message', async () => {
      await start();
      const provider = await open();
      await send(provider);
      simulator.cut();
      await simulator.bound(2);
      expect(await send(provider)).toMatchObject({ kind: 'accepted' });
    });

    it('is tried for at once when it fails, then after a second, then after two', async () => {
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
      await start({ bindStatus: () => 0x08 });
      const provider = await open();
      await simulator.bound(2);
      expect(await send(provider)).toEqual({ kind: 'failed', reason: 'unavailable', code: 'bind 0x08' });
      await vi.advanceTimersByTimeAsync(990);
      expect(simulator.bindCount()).toBe(2);
      await vi.advanceTimersByTimeAsync(20);
      await simulator.bound(3);
      await send(provider);
      await vi.advanceTimersByTimeAsync(1990);
      expect(simulator.bindCount()).toBe(3);
      await vi.advanceTimersByTimeAsync(20);
      await simulator.bound(4);
    });

    it('tries a refused password once a minute: carriers lock accounts', async () => {
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
      await start();
      const provider = await open({ password: 'wrong-pw' });
      expect(await send(provider)).toEqual({ kind: 'failed', reason: 'account', code: 'bind 0x0E' });
      expect(await send(provider)).toEqual({ kind: 'failed', reason: 'account', code: 'bind 0x0E' });
      await vi.advanceTimersByTimeAsync(59_000);
      expect(simulator.bindCount()).toBe(1);
      await vi.advanceTimersByTimeAsync(1500);
      await simulator.bound(2);
    });

    it('asks whether the other side is there, and is made anew when it is not', async () => {
      vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
      await start();
      const provider = await open({ enquireLinkSeconds: 30 });
      await send(provider);
      await vi.advanceTimersByTimeAsync(30_000);
      await simulator.received(2);
      expect(simulator.requests.at(-1)?.method).toBe('enquire_link');
      simulator.behave('stall');
      await vi.advanceTimersByTimeAsync(30_000);
      await simulator.received(3);
      await vi.advanceTimersByTimeAsync(30_000);
      await simulator.bound(2);
    });

    it('is made anew after half a packet', async () => {
      vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
      // No receipts: they would fill the packet up.
      await start({ delivery: [] });
      const provider = await open();
      await send(provider);
      simulator.behave('stall-in-body', 'stall');
      const outcome = send(provider);
      await simulator.received(2);
      await vi.advanceTimersByTimeAsync(30_000);
      await simulator.received(3);
      await vi.advanceTimersByTimeAsync(30_000);
      expect(await outcome).toMatchObject({ reason: 'uncertain', code: 'no-answer' });
      expect(await send(provider)).toMatchObject({ kind: 'accepted' });
    });

    it('is made anew when the message centre says that it is not bound', async () => {
      await start();
      const provider = await open();
      simulator.behave({ kind: 'answer', answer: { status: 0x04 } });
      expect(await send(provider)).toMatchObject({ reason: 'unavailable', code: '0x04' });
      expect(await send(provider)).toMatchObject({ kind: 'accepted' });
      expect(simulator.bindCount()).toBe(2);
    });

    it('is made anew when the message centre unbinds', async () => {
      await start();
      const provider = await open();
      await send(provider);
      simulator.push('unbind', {});
      await simulator.bound(2);
      expect(await send(provider)).toMatchObject({ kind: 'accepted' });
    });

    it('survives a packet that it does not know, and one that it cannot read', async () => {
      await start();
      const provider = await open();
      await send(provider);
      simulator.pushOctets(Buffer.from('000000100000abcd0000000000000009', 'hex'));
      // A deliver_sm whose text is longer than the packet.
      simulator.pushOctets(Buffer.from('00000011000000050000000000000009ff', 'hex'));
      expect(await send(provider)).toMatchObject({ kind: 'accepted' });
      expect(simulator.bindCount()).toBe(1);
    });

    it('unbinds when it is closed, and sends nothing afterwards', async () => {
      await start();
      const provider = await open();
      await send(provider);
      await provider.close?.();
      expect(simulator.unboundCount()).toBe(1);
      expect(await send(provider)).toEqual({ kind: 'failed', reason: 'unavailable', code: 'closed' });
      expect(simulator.bindCount()).toBe(1);
    });

    it('is encrypted with smpps://, and only with a certificate that can be trusted', async () => {
      await start({ tls: { key: KEY, cert: CERTIFICATE } });
      expect(await send(await open())).toMatchObject({
        kind: 'failed',
        reason: 'unavailable',
        code: 'DEPTH_ZERO_SELF_SIGNED_CERT',
      });
      expect(simulator.bindCount()).toBe(0);
      const trusted = getCACertificates('default');
      setDefaultCACertificates([...trusted, CERTIFICATE]);
      try {
        expect(await send(await open())).toMatchObject({ kind: 'accepted' });
      } finally {
        setDefaultCACertificates(trusted);
      }
    });
  });

  describe('settings', () => {
    const faultsOf = (over: Partial<Settings>) =>
      smpp.faults?.({ systemId: 'countersign', password: 'test-pwd', ...over }) ?? [];

    beforeEach(() => start());

    it.each([
      [{}, /SMPP_HOST or SMPP_BASE_URL/],
      [{ host: 'smsc.example', port: '70000' }, /SMPP_PORT/],
      [{ baseUrl: 'smpp://smsc.example:99999' }, /SMPP_BASE_URL/],
    ])('%j are at fault', (over, expected) => {
      expect(faultsOf(over)).toEqual([expect.stringMatching(expected)]);
    });

    it('may name host and port', async () => {
      expect(faultsOf({ host: 'smsc.example' })).toEqual([]);
      const { baseUrl, ...settings } = settingsAt(simulator.url);
      const provider = await smpp.create(
        { ...settings, host: '127.0.0.1', port: new URL(baseUrl).port },
        { now: () => NOW, http },
      );
      opened.push(provider);
      expect(await send(provider)).toMatchObject({ kind: 'accepted' });
    });
  });

  it.each([
    [0x05, 'unavailable', /SMPP_SYSTEM_ID/],
    [0x0d, 'account', /SMPP_PASSWORD/],
    [0x0f, 'account', /SMPP_PASSWORD/],
    [0x53, 'account', /SMPP_SYSTEM_TYPE/],
    [0x08, 'unavailable', /SMPP_HOST/],
  ])('says what to do about a bind that is refused with %i', async (status, reason, fix) => {
    await start({ bindStatus: () => status });
    const provider = await open();
    expect(await provider.probe?.(soon())).toMatchObject({
      kind: 'failed',
      reason,
      fix: expect.stringMatching(fix),
    });
  });
});

// Made for these tests, for 127.0.0.1, until 2126: openssl req -x509 -newkey ec … -addext subjectAltName=IP:127.0.0.1
const KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg0aX88CWgM/g3dzLr
tRbfeNWgN6pN3S9SquqyrgjBKAOhRANCAASAsXvl8gqDugx/iNjxcngZJmTP28HQ
IQ/cF2508gh83fW3pePizFkDZxsbo/zWrUm9ZRTNSSVO4D/BT/k/BmIe
-----END PRIVATE KEY-----`;
const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBkTCCATagAwIBAgIUShJ3dBrC4SFxTlXV01S0MmNfsbYwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJMTI3LjAuMC4xMCAXDTI2MTEyMDE2NTAwNVoYDzIxMjYxMDI3
MTY1MDA1WjAUMRIwEAYDVQQDDAkxMjcuMC4wLjEwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAASAsXvl8gqDugx/iNjxcngZJmTP28HQIQ/cF2508gh83fW3pePizFkD
Zxsbo/zWrUm9ZRTNSSVO4D/BT/k/BmIeo2QwYjAdBgNVHQ4EFgQUeTIyLTex0i6y
vj+43nuBIqJNeIgwHwYDVR0jBBgwFoAUeTIyLTex0i6yvj+43nuBIqJNeIgwDwYD
VR0TAQH/BAUwAwEB/zAPBgNVHREECDAGhwR/AAABMAoGCCqGSM49BAMCA0kAMEYC
IQC3cJeURDxA0p3nA4cz2iXclmCUv5JRKlsTxJRWJX7WswIhAMHgtMVqrePEPrNb
erk7o1GeUcafLbO68U4jYNk+CdcN
-----END CERTIFICATE-----`;
