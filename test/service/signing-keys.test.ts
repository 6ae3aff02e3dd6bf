import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLocalJWKSet, decodeProtectedHeader, jwtVerify } from 'jose';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Countersign } from '../../src/index.ts';
import { createSealer } from '../../src/service/sealer.ts';
import { openTokens } from '../../src/service/tokens.ts';
import { openSqliteStore } from '../../src/stores/sqlite/sqlite-store.ts';
import { phone, verificationOf } from '../../src/testing/store-steps.ts';
import { expectStarted, NUMBER, noLimits, openBench } from './service-bench.ts';

describe('the token of an approval on many nodes', () => {
  it('is signed with a new key only when twenty seconds later every node has it, which publishes it before', async () => {
    const { countersign, clock, fake, again } = await openBench({ limits: noLimits });
    const nodes = [countersign, await again()];
    const approve = async (node: Countersign) => {
      const { id } = expectStarted(await node.verifications.start({ to: NUMBER })).verification;
      const answer = await node.verifications.check({ id, code: fake.lastCode });
      if (answer.kind !== 'approved') throw new Error('not approved');
      return answer.token;
    };
    const kidsNow = async () => {
      const kids: (string | undefined)[] = [];
      // One number has one verification at a time.
      for (const node of nodes) kids.push(decodeProtectedHeader(await approve(node)).kid);
      return kids;
    };
    const [old] = await kidsNow();
    clock.advance(60_000);
    const made = await countersign.tokens.rotate();
    expect((await countersign.tokens.jwks()).keys[0]?.kid).toBe(made);
    for (const laterMs of [0, 9999, 10_000]) {
      clock.advance(laterMs);
      expect(await kidsNow()).toEqual([old, old]);
    }
    clock.advance(1);
    const late = await again();
    for (const node of [...nodes, late]) {
      const token = await approve(node);
      expect(decodeProtectedHeader(token).kid).toBe(made);
      // Shown to any other, it is good.
      for (const other of [...nodes, late])
        await jwtVerify(token, createLocalJWKSet(await other.tokens.jwks()), { currentDate: new Date(clock.now) });
    }
  });

  it('of a key that a node does not know yet has it look for new ones, once a second at most', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'countersign-tokens-'));
    onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }));
    const store = openSqliteStore(join(dataDir, 'countersign.db'));
    onTestFinished(() => store.close());
    let reads = 0;
    const { listSigningKeys } = store;
    store.listSigningKeys = () => {
      reads += 1;
      return listSigningKeys();
    };
    const sealer = createSealer('b1946ac92492d2347c6235b4d2611184d41d8cd98f00b204', randomBytes);
    const [a, b] = [
      await openTokens(store, sealer, 'countersign', 0),
      await openTokens(store, sealer, 'countersign', 0),
    ];
    await a.rotate(1000);
    const verification = verificationOf({ number: phone(1) });
    // The clock of a is ahead: it signs with the new one before b had to look.
    const token = a.issue(verification, 21_000);
    const proves = (given: string, at: number) => b.provesEarlierApproval(given, 'taxi', verification.number, at);
    reads = 0;
    expect(await proves(token, 5000)).toBe(true);
    expect(reads).toBe(1);
    const [, ...rest] = token.split('.');
    const header = Buffer.from(JSON.stringify({ alg: 'EdDSA', typ: 'JWT', kid: 'invented' })).toString('base64url');
    for (let time = 0; time < 5; time += 1) expect(await proves([header, ...rest].join('.'), 5500)).toBe(false);
    expect(reads).toBe(1);
    expect(await proves([header, ...rest].join('.'), 6000)).toBe(false);
    expect(reads).toBe(2);
  });
});
