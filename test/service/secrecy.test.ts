import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { failed } from '../../src/index.ts';
import {
  type Bench,
  expectStarted,
  FakeProvider,
  MINUTE,
  NUMBER,
  noLimits,
  openBench,
  wrongCode,
} from './service-bench.ts';

/** Everything that can be asked for, well and badly, once. Returns all answers, and what was thrown. */
async function useEverything({ countersign, clock, fake }: Bench): Promise<unknown[]> {
  const { verifications, messages } = countersign;
  const answers: unknown[] = [];
  const ask = async (answer: Promise<unknown>) => {
    answers.push(await answer.catch((error: unknown) => [String(error), (error as Error).stack, error]));
  };
  for (const to of [NUMBER, '+998901234568', '+998901234569']) {
    await ask(verifications.start({ to, idempotencyKey: `start ${to}`, metadata: { a: 'b' } }));
    const { id } = (answers.at(-1) as { verification: { id: string } }).verification;
    await ask(verifications.start({ to, idempotencyKey: `start ${to}`, metadata: { a: 'b' } }));
    clock.advance(MINUTE);
    await ask(verifications.resend({ id, idempotencyKey: `resend ${to}` }));
    await ask(verifications.resend({ id, idempotencyKey: `resend ${to}` }));
    const code = fake.lastCode;
    await ask(verifications.check({ id, code: wrongCode(code) }));
    await ask(verifications.check({ to, code: wrongCode(code) }));
    await ask(verifications.check({ id, code, purpose: 'other' }));
    await ask(verifications.check({ app: 'nothing', id, code }));
    if (to === NUMBER) await ask(verifications.check({ id, code }));
    else if (to === '+998901234568') await ask(verifications.cancel({ id }));
    await ask(verifications.check({ id, code }));
    await ask(verifications.get({ id }));
  }
  const send = fake.answer;
  fake.answer = async ({ text }) => {
    throw new Error(`cannot send ${text}`);
  };
  await ask(verifications.start({ to: '+998901234560', idempotencyKey: 'throws' }));
  fake.answer = async () => failed('content', '30007');
  await ask(verifications.start({ to: '+998901234561' }));
  fake.answer = send;
  await ask(messages.list());
  await ask(countersign.tokens.jwks());
  await countersign.ready();
  return answers;
}

/** Names of the files in which one of the codes stands. */
function filesWith(dataDir: string, codes: readonly string[]): string[] {
  const files = readdirSync(dataDir);
  expect(files).toContain('countersign.db-wal');
  return files.filter((file) => {
    const bytes = readFileSync(join(dataDir, file));
    return codes.some((code) => bytes.includes(code));
  });
}

// Ten digits: six stand by accident in one moment or another.
const app = { codeLength: 10, limits: noLimits, resend: 'replace' } as const;

describe('a code (invariant 4)', () => {
  it('is in no answer, no log line, no error and no file in production', async () => {
    const bench = await openBench(app);
    const answers = await useEverything(bench);
    const codes = bench.fake.codes;
    expect(codes.length).toBeGreaterThanOrEqual(8);
    expect(new Set(codes).size).toBe(codes.length);
    for (const code of codes) {
      expect(code).toMatch(/^\d{10}$/);
      expect(JSON.stringify(answers)).not.toContain(code);
      expect(JSON.stringify(bench.log)).not.toContain(code);
    }
    expect(filesWith(bench.dataDir, codes)).toEqual([]);
    await bench.countersign.close();
    const rest = readdirSync(bench.dataDir).filter((file) =>
      codes.some((code) => readFileSync(join(bench.dataDir, file)).includes(code)),
    );
    expect(rest).toEqual([]);
  });

  it('is in the answers of development mode, also in repeated ones, and still in no file or log', async () => {
    const fake = new FakeProvider('fake');
    const bench = await openBench(app, {
      providers: [fake],
      config: { mode: 'development', apps: { default: { ...app, country: 'UZ', routes: { '*': ['fake'] } } } },
    });
    const request = { to: '+998901234500', idempotencyKey: 'dev' };
    const first = expectStarted(await bench.countersign.verifications.start(request));
    const second = expectStarted(await bench.countersign.verifications.start(request));
    expect([first.code, second.code]).toEqual([fake.lastCode, fake.lastCode]);
    await useEverything(bench);
    expect(filesWith(bench.dataDir, fake.codes)).toEqual([]);
    for (const code of fake.codes) expect(JSON.stringify(bench.log)).not.toContain(code);
  });

  it('does not follow from what is stored without the secret: nonce, digests and ids are of another make', async () => {
    const one = await openBench(app, { parts: { randomBytes: (length) => Buffer.alloc(length, 7) } });
    const two = await openBench(app, {
      parts: { randomBytes: (length) => Buffer.alloc(length, 7) },
      config: { secret: 'another secret, of thirty-two bytes or more' },
    });
    for (const bench of [one, two]) await bench.countersign.verifications.start({ to: NUMBER });
    expect(one.fake.lastCode).not.toBe(two.fake.lastCode);
  });
});

describe('a log line', () => {
  it('shows no full number, text or credential', async () => {
    const bench = await openBench(app);
    await useEverything(bench);
    await bench.countersign.messages.send({ to: NUMBER, text: 'Your driver is here.' });
    const { key } = await bench.countersign.keys.create({ app: 'default', name: 'x' });
    const lines = JSON.stringify(bench.log);
    expect(bench.log.length).toBeGreaterThan(5);
    expect(lines).toContain('+998•••••4567');
    for (const secret of [NUMBER, '901234567', 'driver', key, 'b1946ac92492d2347c6235b4d2611184d41d8cd98f00b204']) {
      expect(lines).not.toContain(secret);
    }
  });
});
