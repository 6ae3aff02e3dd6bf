import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { CountersignError } from '../../src/domain/problem.ts';
import { createCountersign } from '../../src/index.ts';
import { openSqliteStore } from '../../src/stores/sqlite/sqlite-store.ts';
import { Clock, until } from './service-bench.ts';

const ROUND_MS = 5000;

let directory: string;
let clock: Clock;
let nodes: Node[];

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  directory = mkdtempSync(join(tmpdir(), 'countersign-housekeeping-'));
  clock = new Clock();
  nodes = [];
});
afterEach(async () => {
  await Promise.all(nodes.map((node) => node.close()));
  vi.useRealTimers();
  rmSync(directory, { recursive: true, force: true });
});

type Node = {
  readonly rounds: () => number;
  readonly sweeps: () => number;
  /** Nothing of it reaches the store any more, also not that it gives a lease back. */
  readonly die: () => void;
  readonly close: () => Promise<void>;
};

async function openNode(given: { readonly deletes?: (sweep: number) => number } = {}): Promise<Node> {
  const store = openSqliteStore(join(directory, 'countersign.db'));
  const { sweep, lease } = store;
  let rounds = 0;
  let sweeps = 0;
  let isDead = false;
  const dead = () => Promise.reject(new CountersignError('store-unavailable', 'dead'));
  store.sweep = async (now, before) => {
    sweeps += 1;
    const { deleted } = await sweep(now, before);
    return { deleted: given.deletes?.(sweeps) ?? deleted };
  };
  // Every round asks for messages that are due, whoever sweeps.
  const { claimDue } = store;
  store.claimDue = async (...step) => {
    try {
      return await (isDead ? dead() : claimDue(...step));
    } finally {
      rounds += 1;
    }
  };
  store.lease = (...step) => (isDead ? dead() : lease(...step));
  const countersign = await createCountersign(
    { secret: 'b1946ac92492d2347c6235b4d2611184d41d8cd98f00b204', dataDir: directory },
    { now: () => clock.now, store },
  );
  const node = {
    rounds: () => rounds,
    sweeps: () => sweeps,
    die() {
      isDead = true;
    },
    close: () => countersign.close(),
  };
  nodes.push(node);
  return node;
}

/** One round of every node. */
async function passRound(): Promise<void> {
  const wanted = nodes.map((node) => node.rounds() + 1);
  clock.advance(ROUND_MS);
  await vi.advanceTimersByTimeAsync(ROUND_MS);
  await until(() => nodes.every((node, index) => node.rounds() >= (wanted[index] ?? 0)));
  // What was due is claimed, and on the disk. Whoever may sweep does so in the next few turns, since nothing waits for the
  // disk in between, nor for another process.
  for (let turn = 0; turn < 50; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

describe('deleting what has ended', () => {
  it('is done by the node that was first, round after round, and by no other meanwhile', async () => {
    const first = await openNode();
    await until(() => first.sweeps() === 1);
    const [second, third] = [await openNode(), await openNode()];
    for (let round = 0; round < 6; round += 1) await passRound();
    expect([second.sweeps(), third.sweeps()]).toEqual([0, 0]);
    expect(first.sweeps()).toBeGreaterThanOrEqual(6);
    expect(third.rounds()).toBeGreaterThanOrEqual(6);
  });

  it('is taken over by exactly one of the others within twenty seconds of the death of its node', async () => {
    const first = await openNode();
    await until(() => first.sweeps() === 1);
    const [second, third] = [await openNode(), await openNode()];
    first.die();
    for (let round = 0; round < 4; round += 1) await passRound();
    expect([second.sweeps(), third.sweeps()].filter((sweeps) => sweeps > 0)).toHaveLength(1);
  });

  it('is taken over in the next round when its node stops in good order', async () => {
    const first = await openNode();
    await until(() => first.sweeps() === 1);
    const second = await openNode();
    await passRound();
    expect(second.sweeps()).toBe(0);
    nodes.splice(0, 1);
    await first.close();
    await passRound();
    expect(second.sweeps()).toBe(1);
  });

  it('stays with its node while that is at it, however long it takes', async () => {
    // Two seconds go by in each of twenty sweeps: several times as long as the lease is good for.
    const first = await openNode({
      deletes(sweep) {
        clock.advance(2000);
        return sweep < 20 ? 1 : 0;
      },
    });
    await until(() => first.sweeps() >= 5);
    const second = await openNode();
    await until(() => first.sweeps() >= 20);
    expect(second.sweeps()).toBe(0);
  });
});
