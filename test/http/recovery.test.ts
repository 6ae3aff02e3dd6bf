import { afterEach, describe, expect, it } from 'vitest';
import { compose } from '../../src/compose.ts';
import { resolveConfig } from '../../src/config/load.ts';
import { providerDefinitions } from '../../src/providers/index.ts';
import type { Countersign } from '../../src/service/countersign.ts';
import type { Simulator } from '../../src/simulators/simulator-kit.ts';
import { twilioSimulator } from '../../src/simulators/twilio.ts';
import { createPhone, SECRET } from './running-server.ts';
import { makeDataDir, makeKey, removeDataDir, type ServerProcess, serveInProcess } from './server-process.ts';

const to = '+998901234567';
/** When a message that its node did not settle counts as orphaned, and a little more. */
const ORPHANED_MS = 15_500;

let dataDir: string;
let simulator: Simulator | undefined;
let server: ServerProcess | undefined;
afterEach(async () => {
  await server?.stop('SIGKILL');
  await simulator?.close();
  await removeDataDir(dataDir);
});

describe('8. stored before sent', () => {
  it('sends a code again, the same one, after the process was killed in the middle of handing it over', async () => {
    const codeOnPhone = await crashWhileSending();
    const { countersign, phone } = await startAgain(ORPHANED_MS);
    await expect.poll(() => phone.sent.length).toBe(1);
    expect(codeIn(phone.sent[0]?.text)).toBe(codeOnPhone);
    await expect
      .poll(() => messagesOf(countersign))
      .toMatchObject([{ status: 'queued', dispatches: [{ provider: 'phone', state: 'queued' }] }]);

    // Whoever asks again with the same key gets the answer of the first request, and no second message.
    const repeated = await countersign.verifications.start({ to, idempotencyKey: 'before-the-crash' });
    expect(repeated).toMatchObject({ kind: 'started', verification: { status: 'pending', sends: 1 } });
    expect(phone.sent).toHaveLength(1);
    const answer = await countersign.verifications.check({ to, code: codeOnPhone });
    expect(answer.kind).toBe('approved');
    await countersign.close();
  });

  // Seen with PostgreSQL killed under load: the outcome of a hand-over was lost with it, and the second request got a 502.
  it('answers a repeated start with its verification where the code was used before the message was taken up', async () => {
    const codeOnPhone = await crashWhileSending();
    const file = {
      mode: 'production' as const,
      secret: SECRET,
      dataDir,
      providers: { phone: createPhone().definition },
    };
    const inBetween = await compose(resolveConfig(file, {}, providerDefinitions, dataDir), { housekeeping: false });
    expect((await inBetween.countersign.verifications.check({ to, code: codeOnPhone })).kind).toBe('approved');
    await inBetween.countersign.close();

    const { countersign, phone } = await startAgain(ORPHANED_MS);
    await expect
      .poll(() => messagesOf(countersign))
      .toMatchObject([
        { status: 'unknown', dispatches: [{ provider: 'none', state: 'unknown', reason: 'uncertain' }] },
      ]);
    const repeated = await countersign.verifications.start({ to, idempotencyKey: 'before-the-crash' });
    expect(repeated).toMatchObject({ kind: 'started', verification: { status: 'approved', sends: 1 } });
    expect(phone.sent).toEqual([]);
    await countersign.close();
  });

  it('leaves a message alone that its node may still be handing over', async () => {
    await crashWhileSending();
    const { countersign, phone } = await startAgain(0);
    expect(await messagesOf(countersign)).toMatchObject([{ status: 'pending', dispatches: [] }]);
    // The first look for orphans is over by then.
    await countersign.close();
    expect(phone.sent).toEqual([]);
  });

  it('says of a message that came too late for its code why it was not sent', async () => {
    await crashWhileSending();
    const { countersign, phone } = await startAgain(600_000);
    await expect
      .poll(() => messagesOf(countersign))
      .toMatchObject([{ status: 'failed', dispatches: [{ provider: 'none', state: 'failed', reason: 'expired' }] }]);
    expect(phone.sent).toEqual([]);
    await countersign.close();
  });
});

/** Kills a server, as the kernel would, while its provider is silent. @returns the code that the provider took */
async function crashWhileSending(): Promise<string> {
  dataDir = await makeDataDir();
  simulator = await twilioSimulator.start();
  const key = await makeKey(dataDir, SECRET);
  server = await serveInProcess(dataDir, {
    COUNTERSIGN_MODE: 'production',
    COUNTERSIGN_SECRET: SECRET,
    DATA_DIR: dataDir,
    ...twilioSimulator.environment(simulator.url),
  });
  simulator.behave('stall');
  const headers = { 'idempotency-key': 'before-the-crash' };
  const lost = server.call('POST', '/v1/verifications', { body: { to }, key, headers }).catch((error: Error) => error);
  await simulator.received(1);
  await server.stop('SIGKILL');
  expect(await lost).toBeInstanceOf(Error);
  return codeIn(simulator.messages[0]?.text);
}

/** The next process on the same directory, some time later: the clock is moved, nobody waits. */
async function startAgain(laterMs: number) {
  const phone = createPhone();
  const file = { mode: 'production' as const, secret: SECRET, dataDir, providers: { phone: phone.definition } };
  const config = resolveConfig(file, {}, providerDefinitions, dataDir);
  const { countersign } = await compose(config, { now: () => Date.now() + laterMs });
  return { countersign, phone };
}

async function messagesOf({ messages }: Countersign) {
  const answer = await messages.list();
  return answer.kind === 'found' ? answer.messages : [];
}

function codeIn(text: string | undefined): string {
  return /(?<!\d)\d{6}(?!\d)/.exec(text ?? '')?.[0] ?? 'none';
}
