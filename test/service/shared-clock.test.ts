import { describe, expect, it } from 'vitest';
import { CountersignError } from '../../src/domain/problem.ts';
import { openSharedClock } from '../../src/service/shared-clock.ts';

const MINUTE = 60_000;
const T0 = Date.UTC(2025, 10, 20, 12);

type Line = { readonly offMs: number; readonly message: string };

/** A machine and a server whose clocks are set by the test, and a network that takes its time. */
class World {
  /** of the server's clock, against the truth */
  serverOffMs = 0;
  wallOffMs = 0;
  isAway = false;
  hasServer = true;
  /** how long a question takes there and back, the next first */
  delaysMs: [there: number, back: number][] = [];
  readonly warnings: Line[] = [];
  #monotonic = 1234.5;

  pass(ms: number): void {
    this.#monotonic += ms;
  }

  get #truth(): number {
    return T0 + this.#monotonic;
  }

  get serverTime(): number {
    return this.#truth + this.serverOffMs;
  }

  open(): ReturnType<typeof openSharedClock> {
    const store = {
      clock: async () => {
        const [there, back] = this.delaysMs.shift() ?? [0.5, 0.5];
        if (this.isAway) throw new CountersignError('store-unavailable', 'away');
        this.pass(there);
        const shown = this.hasServer ? Math.floor(this.serverTime) : undefined;
        this.pass(back);
        return shown;
      },
    };
    const log = {
      info: () => {},
      warn: (fields: object, message: string) => void this.warnings.push({ ...(fields as { offMs: number }), message }),
      error: () => {},
    };
    return openSharedClock(store, log, {
      wall: () => Math.floor(this.#truth + this.wallOffMs),
      monotonic: () => this.#monotonic,
    });
  }
}

/** The machine stands still, its monotonic clock too. */
function suspend(world: World, ms: number): void {
  world.wallOffMs += ms;
  world.serverOffMs += ms;
}

function expectNear(shown: number, wanted: number, byMs: number): void {
  expect(Math.abs(shown - wanted)).toBeLessThanOrEqual(byMs);
}

describe('the time of a node', () => {
  it.each([5 * MINUTE, -5 * MINUTE, 1100])(
    'is that of the server where its own clock is %i ms off, with one warning',
    async (offMs) => {
      const world = new World();
      world.wallOffMs = offMs;
      const clock = await world.open();
      for (let round = 0; round < 5; round += 1) {
        expectNear(clock.now(), world.serverTime, 2);
        world.pass(10_000);
        await clock.measure();
      }
      expect(world.warnings).toEqual([
        { offMs: expect.closeTo(offMs, -1), message: expect.stringMatching(offMs > 0 ? /is ahead of/ : /is behind/) },
      ]);
      expect(Number.isInteger(clock.now())).toBe(true);
    },
  );

  it('is its own as long as that is no further off than a question takes', async () => {
    const world = new World();
    world.wallOffMs = 40;
    const clock = await world.open();
    expectNear(clock.now(), world.serverTime + 40, 1);
    world.pass(10_000);
    await clock.measure();
    expectNear(clock.now(), world.serverTime + 40, 1);
    expect(world.warnings).toEqual([]);
  });

  it('is its own where the store has no server, whoever sets it', async () => {
    const world = new World();
    world.hasServer = false;
    const clock = await world.open();
    world.wallOffMs = -MINUTE;
    await clock.measure();
    expectNear(clock.now(), world.serverTime - MINUTE, 1);
  });

  it('goes by the quickest of a few questions', async () => {
    const world = new World();
    world.wallOffMs = MINUTE;
    // Two seconds on the way there alone would be a second of error.
    world.delaysMs = [
      [2000, 0],
      [1, 1],
      [0, 1500],
    ];
    const clock = await world.open();
    expectNear(clock.now(), world.serverTime, 2);
  });

  it('is not corrected by less than the answers may be wrong by', async () => {
    const world = new World();
    const clock = await world.open();
    world.delaysMs = Array.from({ length: 3 }, () => [1800, 0] as [number, number]);
    await clock.measure();
    expectNear(clock.now(), world.serverTime, 2);
  });

  it('does not move when somebody sets the clock of the machine, in either direction', async () => {
    const world = new World();
    const clock = await world.open();
    for (const offMs of [-MINUTE, 3 * MINUTE]) {
      world.wallOffMs = offMs;
      world.pass(1000);
      expectNear(clock.now(), world.serverTime, 2);
      await clock.measure();
      expectNear(clock.now(), world.serverTime, 2);
    }
    expect(world.warnings).toHaveLength(2);
  });

  it('jumps forward, as after a sleep of the machine', async () => {
    const world = new World();
    const clock = await world.open();
    world.serverOffMs = 2 * MINUTE;
    await clock.measure();
    expectNear(clock.now(), world.serverTime, 2);
  });

  it('never goes back: where the server is set back it goes more slowly, until it is right', async () => {
    const world = new World();
    const clock = await world.open();
    let before = clock.now();
    world.serverOffMs = -3000;
    await clock.measure();
    expect(clock.now()).toBeGreaterThanOrEqual(before);
    for (let second = 0; second < 40; second += 1) {
      world.pass(1000);
      if (second % 10 === 9) await clock.measure();
      const shown = clock.now();
      // What a code lives is a tenth longer at most.
      expect(shown - before).toBeGreaterThanOrEqual(899);
      expect(shown).toBeGreaterThanOrEqual(before);
      before = shown;
    }
    expectNear(clock.now(), world.serverTime, 50);
  });

  it('goes on while the store is away', async () => {
    const world = new World();
    world.wallOffMs = 5 * MINUTE;
    const clock = await world.open();
    world.isAway = true;
    world.pass(MINUTE);
    await clock.measure();
    expectNear(clock.now(), world.serverTime, 2);
  });

  it('is not begun without the store', async () => {
    const world = new World();
    world.isAway = true;
    await expect(world.open()).rejects.toMatchObject({ code: 'store-unavailable' });
  });

  it('is compared every ten seconds, and at once when the machine was suspended', async () => {
    const world = new World();
    const clock = await world.open();
    world.pass(9_990);
    expect(clock.isDue()).toBe(false);
    world.pass(20);
    expect(clock.isDue()).toBe(true);
    await clock.measure();
    expect(clock.isDue()).toBe(false);
    suspend(world, 10 * MINUTE);
    world.isAway = true;
    await clock.measure();
    expect(clock.isDue()).toBe(true);
    world.isAway = false;
    await clock.measure();
    expect(clock.isDue()).toBe(false);
    expectNear(clock.now(), world.serverTime, 2);
  });

  it('deletes by the earlier of both clocks', async () => {
    const world = new World();
    world.serverOffMs = 31 * 24 * 60 * MINUTE;
    const ahead = await world.open();
    expectNear(ahead.now(), world.serverTime, 2);
    expectNear(ahead.earliest(), world.serverTime - world.serverOffMs, 2);
    world.serverOffMs = -5 * MINUTE;
    const behind = await world.open();
    expectNear(behind.earliest(), world.serverTime, 2);
  });
});
