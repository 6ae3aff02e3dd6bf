import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { FileConfig } from '../../src/index.ts';
import type { Simulator } from '../../src/simulators/simulator-kit.ts';
import { sinchSimulator } from '../../src/simulators/sinch.ts';
import { makeServerDirectory, type ServerDirectory } from '../../test/servers/machine.ts';
import { type Backend, type StoreName, startBackend } from './backends.ts';
import { type Ask, Caller, type Reply } from './caller.ts';
import { NodeProcess } from './node-process.ts';

const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const KEY_PATIENCE_MS = 20_000;

export const START_LIMIT = 3;
export const MAX_ATTEMPTS = 5;
export const GUESS_BUDGET = 20;
export const EDGE_TTL_SECONDS = 30;
export const EDGE_WINDOW_SECONDS = 60;

const many = [{ max: 1_000_000, windowSeconds: 86_400 }];
const roomy = { perAddress: many, perPrefix: many, perApp: many, messagesPerNumber: many };

/** `edge` is for what ends soon, so that its very end can be looked at. */
const config: FileConfig = {
  apps: {
    default: {
      brand: 'Acme',
      country: 'UZ',
      routes: { '*': ['sinch'] },
      limits: { ...roomy, perNumber: [{ max: START_LIMIT, windowSeconds: 86_400 }] },
    },
    edge: {
      brand: 'Acme',
      country: 'UZ',
      codeTtlSeconds: EDGE_TTL_SECONDS,
      routes: { '*': ['sinch'] },
      limits: { ...roomy, perNumber: [{ max: START_LIMIT, windowSeconds: EDGE_WINDOW_SECONDS }] },
    },
  },
};

export type AppName = 'default' | 'edge';

/** A message that the vendor took, as the person would have it. */
export type HandOver = { readonly messageId: string; readonly code: string | undefined };

/** Any number of nodes in production mode over one store, and the vendor that all of them send through. */
export class Installation {
  readonly backend: Backend;
  readonly nodes: readonly NodeProcess[];
  readonly #callers: readonly Caller[];
  readonly #keys: Readonly<Record<AppName, string>>;
  readonly #simulator: Simulator;
  readonly #directory: ServerDirectory;
  readonly #handOvers: Map<string, HandOver[]>;

  private constructor(parts: {
    backend: Backend;
    nodes: readonly NodeProcess[];
    keys: Readonly<Record<AppName, string>>;
    simulator: Simulator;
    directory: ServerDirectory;
    handOvers: Map<string, HandOver[]>;
  }) {
    this.backend = parts.backend;
    this.nodes = parts.nodes;
    this.#keys = parts.keys;
    this.#simulator = parts.simulator;
    this.#directory = parts.directory;
    this.#handOvers = parts.handOvers;
    this.#callers = parts.nodes.map(({ origin }, index) => new Caller(origin, index));
  }

  /**
   * All nodes start at once, on servers that have nothing yet.
   * @param clocksOffMs one node for each, its clock so far ahead
   */
  static async open(store: StoreName, clocksOffMs: readonly number[]): Promise<Installation> {
    const directory = makeServerDirectory('survival', undefined);
    const { path } = directory;
    const handOvers = new Map<string, HandOver[]>();
    const simulator = await sinchSimulator.start({
      delivery: [],
      onMessage: ({ to, text, fields }) => {
        const of = handOvers.get(to) ?? [];
        handOvers.set(to, of);
        of.push({ messageId: String(fields['client_reference']), code: /(?<!\d)\d{6}(?!\d)/.exec(text)?.[0] });
      },
    });
    let backend: Backend | undefined;
    let nodes: NodeProcess[] = [];
    try {
      backend = await startBackend(store);
      const configFile = join(path, 'countersign.config.json');
      await writeFile(configFile, JSON.stringify(config));
      const environment = {
        ...backend.environment,
        ...sinchSimulator.environment(simulator.url),
        COUNTERSIGN_CONFIG: configFile,
        COUNTERSIGN_MODE: 'production',
        COUNTERSIGN_SECRET: randomBytes(32).toString('hex'),
        DATA_DIR: join(path, 'data'),
        LOG_LEVEL: 'warn',
      };
      nodes = await Promise.all(
        clocksOffMs.map((clockOffMs) => NodeProcess.make({ directory: path, environment, clockOffMs })),
      );
      await Promise.all(nodes.map((node) => node.start()));
      const [ofDefault, ofEdge] = await Promise.all([
        makeKey('default', path, environment),
        makeKey('edge', path, environment),
      ]);
      const keys = { default: ofDefault, edge: ofEdge };
      return new Installation({ backend, nodes, keys, simulator, directory, handOvers });
    } catch (error) {
      await Promise.all(nodes.map((node) => node.stop('SIGKILL')));
      await backend?.close();
      await simulator.close();
      await directory.remove();
      throw error;
    }
  }

  call(node: number, ask: Ask, app: AppName = 'default'): Promise<Reply> {
    const caller = this.#callers[node];
    if (caller === undefined) throw new Error(`there is no node ${node}`);
    return caller.call(ask, this.#keys[app]);
  }

  /** What went out to a number. */
  handOversTo(number: string): readonly HandOver[] {
    return this.#handOvers.get(number) ?? [];
  }

  async close(): Promise<void> {
    for (const caller of this.#callers) caller.close();
    await Promise.all(this.nodes.map((node) => node.stop('SIGKILL')));
    await this.backend.close();
    await this.#simulator.close();
    await this.#directory.remove();
  }
}

async function makeKey(app: AppName, cwd: string, environment: Readonly<Record<string, string>>): Promise<string> {
  const { PATH, HOME } = process.env;
  const { stdout } = await promisify(execFile)(process.execPath, [main, 'keys', 'create', '--app', app, '--json'], {
    cwd,
    timeout: KEY_PATIENCE_MS,
    env: { PATH, HOME, ...environment },
  });
  return (JSON.parse(stdout) as { key: string }).key;
}
