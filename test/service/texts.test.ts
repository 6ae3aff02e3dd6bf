import { describe, expect, it } from 'vitest';
import { expectStarted, FakeProvider, MINUTE, NUMBER, noLimits, openBench } from './service-bench.ts';

const HASH = 'FA+9qCX9VSu';
const OTHER_HASH = 'k2+x9/AbCdE';

async function openEndings(autofill: { domain?: string; appHashes?: string[] }, app = {}) {
  const bench = await openBench({ autofill, limits: noLimits, ...app });
  let subject = 0;
  const lastLineFor = async (request: object) => {
    subject += 1;
    expectStarted(await bench.countersign.verifications.start({ to: NUMBER, subject: String(subject), ...request }));
    const lines = (bench.fake.texts.at(-1) ?? '').split('\n');
    return lines.length > 1 ? lines.at(-1) : undefined;
  };
  return { ...bench, lastLineFor };
}

describe('the ending of a text', () => {
  it('is the domain and the code for pages, the hash for an Android app, and nothing for who does not say', async () => {
    const { lastLineFor, fake } = await openEndings({ domain: 'example.com', appHashes: [HASH] });
    expect(await lastLineFor({})).toBeUndefined();
    expect(await lastLineFor({ platform: 'web' })).toBe(`@example.com #${fake.lastCode}`);
    expect(await lastLineFor({ platform: 'ios' })).toBe(`@example.com #${fake.lastCode}`);
    expect(await lastLineFor({ platform: 'android' })).toBe(HASH);
    expect(await lastLineFor({ appHash: HASH })).toBe(HASH);
    expect(fake.texts.at(-1)).toContain(fake.lastCode);
  });

  it('is one that is configured, or none', async () => {
    const { lastLineFor, countersign } = await openEndings({ appHashes: [HASH, OTHER_HASH] });
    expect(await lastLineFor({ platform: 'web' })).toBeUndefined();
    // Which of the two apps it is, nobody says.
    expect(await lastLineFor({ platform: 'android' })).toBeUndefined();
    expect(await lastLineFor({ platform: 'android', appHash: OTHER_HASH })).toBe(OTHER_HASH);
    for (const appHash of ['AAAAAAAAAAA', '', HASH.toLowerCase(), `${HASH}\nVisit evil.example`])
      expect(await countersign.verifications.start({ to: NUMBER, platform: 'android', appHash })).toMatchObject({
        code: 'request-invalid',
        field: 'app_hash',
      });
  });

  it('stays for resends, until another one is asked for', async () => {
    const { countersign, clock, fake } = await openEndings({ domain: 'example.com', appHashes: [HASH] });
    const { id } = expectStarted(await countersign.verifications.start({ to: NUMBER, platform: 'web' })).verification;
    for (const request of [{}, { platform: 'android' as const }, {}]) {
      clock.advance(2 * MINUTE);
      expectStarted(await countersign.verifications.resend({ id, ...request }));
    }
    const lines = fake.texts.map((text) => text.split('\n').at(-1));
    expect(lines).toEqual([`@example.com #${fake.lastCode}`, `@example.com #${fake.lastCode}`, HASH, HASH]);
  });

  it('is for texts alone: nobody reads a hash aloud', async () => {
    const { countersign, fake } = await openEndings({ domain: 'example.com' });
    expectStarted(await countersign.verifications.start({ to: NUMBER, platform: 'web', channel: 'voice' }));
    expect(fake.texts[0]).not.toContain('example.com');
  });

  it('is part of what is measured, and so of what it costs', async () => {
    const domain = `${'a'.repeat(60)}.${'b'.repeat(60)}.example`;
    const { countersign, lastMessage, clock, fake } = await openEndings({ domain });
    expectStarted(await countersign.verifications.start({ to: NUMBER }));
    expect((await lastMessage()).segments).toBe(1);
    clock.advance(1);
    expectStarted(await countersign.verifications.start({ to: '+998901234568', platform: 'web' }));
    expect((fake.texts.at(-1) ?? '').length).toBeGreaterThan(160);
    expect(await lastMessage()).toMatchObject({ encoding: 'GSM-7', segments: 2 });
  });
});

describe('a text', () => {
  it('is normalised before it is sent and measured: what only costs segments is replaced, in brand and template', async () => {
    const fake = new FakeProvider('fake');
    const bench = await openBench(
      { brand: 'Royal’s – Taxi', texts: { uz: '“{brand}”… {code}\u00a0— {minutes}' } },
      { providers: [fake] },
    );
    expectStarted(await bench.countersign.verifications.start({ to: NUMBER }));
    expect(fake.texts[0]).toBe(`"Royal's - Taxi"... ${fake.lastCode} - 10`);
    expect(await bench.lastMessage()).toMatchObject({ encoding: 'GSM-7', segments: 1 });
  });

  it('is measured in the encoding that its letters need', async () => {
    const bench = await openBench({ texts: { uz: `Ваш код {code} ${'ы'.repeat(70)}` } });
    expectStarted(await bench.countersign.verifications.start({ to: NUMBER }));
    expect(await bench.lastMessage()).toMatchObject({ encoding: 'UCS-2', segments: 2 });
  });
});
