import { styleText } from 'node:util';
import { loadProcessConfig } from '../../compose.ts';
import type { Config } from '../../config/config.ts';
import { ConfigError } from '../../config/load.ts';
import { defineCommand, expectPositionals, jsonOption } from '../command.ts';
import { exitCodes, print, printJson } from '../output.ts';
import { clockFinding, sampleClocks } from './clock.ts';
import { type Finding, fault, fine, skipped } from './finding.ts';
import { examineStore, lastWriteOf, portFinding, secretFinding } from './installation.ts';
import { examineProviders, type ProviderReport } from './providers.ts';
import { publicUrlFinding } from './public-url.ts';

export const doctor = defineCommand({
  name: 'doctor',
  positionals: '',
  description: `Looks whether this installation can work: configuration, secret, store, clock, port, public address, and
whether each configured provider answers with these credentials. Nothing is sent, and nothing is changed.
Exits with 0 when all is fine, with 1 when there is something to do.`,
  options: { json: jsonOption },
  async run({ json }, positionals) {
    expectPositionals('doctor', positionals);
    const findings = await examine();
    const isFine = findings.every(({ result }) => result !== 'fault');
    if (json === true) printJson({ ok: isFine, findings });
    else print(toText(findings));
    return isFine ? exitCodes.done : exitCodes.operator;
  },
});

async function examine(): Promise<Finding[]> {
  const node = fine('node', `Node.js ${process.versions.node}`);
  let config: Config;
  try {
    config = await loadProcessConfig();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const faults = error.faults.map((each) =>
      fault('configuration', each, 'Correct it in the environment, .env or the configuration file.'),
    );
    return [node, ...faults, skipped('all else', 'is looked at once the configuration is whole')];
  }
  const lastWriteAt = lastWriteOf(config);
  let providers: ProviderReport = { findings: [], reporting: [] };
  const samples = await sampleClocks(Date.now, async () => {
    providers = await examineProviders(config);
  });
  const store = await examineStore(config);
  return [
    node,
    fine('configuration', configDetail(config)),
    // That the database was made with another secret says more than that this one looks good.
    ...(store.findings.some(({ check }) => check === 'secret') ? [] : [secretFinding(config)]),
    ...store.findings,
    clockFinding(Date.now(), samples, lastWriteAt),
    await portFinding(config, store.jwks),
    publicUrlFinding(config, providers.reporting),
    ...(config.providers.length === 0
      ? [skipped('providers', 'none is configured: messages go to the inbox (development mode)')]
      : providers.findings),
  ];
}

function configDetail({ mode, apps }: Config): string {
  const names = [...apps.keys()];
  return `${mode} mode, ${names.length === 1 ? 'app' : 'apps'} ${names.join(', ')}`;
}

const marks = { fine: '✓', fault: '✗', skipped: '–' } as const;
const colours = { fine: 'green', fault: 'red', skipped: 'dim' } as const;

/** In colour on a terminal that wants it (`NO_COLOR`, `FORCE_COLOR`). */
function toText(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map(({ check }) => check.length));
  return findings
    .map((finding) => {
      const mark = styleText(colours[finding.result], marks[finding.result], { stream: process.stdout });
      const line = `${mark} ${finding.check.padEnd(width)}  ${finding.detail}`;
      return finding.result === 'fault' ? `${line}\n  ${' '.repeat(width)}  → ${finding.fix}` : line;
    })
    .join('\n');
}
