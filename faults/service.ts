import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TObject } from 'typebox';
import { parse } from 'yaml';
import { resolveConfig } from '../src/config/load.ts';
import { type Countersign, createCountersign, type FileConfig } from '../src/index.ts';
import type { ProviderDefinition } from '../src/provider-kit/define-provider.ts';
import { providerDefinitions } from '../src/providers/index.ts';
import type { SimulatorDefinition } from '../src/simulators/simulator-kit.ts';

/** A provider that a simulator stands behind, under a name that a route calls it by. */
export type Party = {
  readonly definition: ProviderDefinition<TObject>;
  readonly settings: Readonly<Record<string, unknown>>;
};

/** The provider `http` has no variables: its settings are the examples of its page, in this order. */
const examples = new Map(
  [...readFileSync(new URL('../docs/providers/http.md', import.meta.url), 'utf8').matchAll(/^```yaml\n(.*?)^```$/gms)]
    .map(([, yaml = '']) => parse(yaml) as FileConfig)
    .map((config, index) => [['http', 'http-json'][index] ?? '', config]),
);

/** A provider as an operator would set it up with the simulator's variables. @throws ConfigError */
export function partyOf(simulator: SimulatorDefinition, url: string): Party {
  const file = examples.get(simulator.id) ?? {};
  const { providers } = resolveConfig(file, simulator.environment(url), providerDefinitions, '/');
  const [configured] = providers;
  if (configured === undefined) throw new Error(`the variables of the simulator ${simulator.id} open no provider`);
  return configured;
}

export function definitionOf({ id }: SimulatorDefinition): ProviderDefinition<TObject> | undefined {
  return providerDefinitions.find((definition) => definition.id === (examples.has(id) ? 'http' : id));
}

export type LogLine = Readonly<Record<string, unknown>> & { readonly message: string };

export type Service = {
  readonly countersign: Countersign;
  /** Closes it, and deletes its data. */
  close(): Promise<void>;
};

/** A service in production mode, with data of its own, and a route of these providers in this order. */
export async function openService(
  parties: Readonly<Record<string, Party>>,
  onLog: (line: LogLine) => void,
  limits: NonNullable<NonNullable<FileConfig['apps']>[string]['limits']> = {},
): Promise<Service> {
  const dataDir = await mkdtemp(join(tmpdir(), 'countersign-faults-'));
  const write = (fields: object, message: string) => onLog({ ...fields, message });
  const countersign = await createCountersign(
    {
      mode: 'production',
      secret: randomBytes(32).toString('hex'),
      dataDir,
      providers: Object.fromEntries(
        Object.entries(parties).map(([id, { definition, settings }]) => [id, { definition, ...settings }]),
      ),
      apps: {
        default: {
          brand: 'Acme',
          limits,
          routes: {
            '*': Object.entries(parties).map(([provider, { definition }]) => ({
              provider,
              channel: definition.channels[0],
            })),
          },
        },
      },
    },
    { log: { info: write, warn: write, error: write } },
  );
  return {
    countersign,
    async close() {
      await countersign.close();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}
