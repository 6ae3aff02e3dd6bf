import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { compose, loadProcessConfig } from '../compose.ts';
import type { Config } from '../config/config.ts';
import { createMetrics } from '../http/metrics.ts';
import { addressOf, buildServer } from '../http/server.ts';
import { openLog } from './log.ts';
import { CliError } from './output.ts';

/** How long requests under way may take after a signal; then the process ends whatever they do. */
const STOP_PATIENCE_MS = 12_000;

/** Starts the server, and stops it gracefully on SIGTERM or SIGINT. */
export async function serve(): Promise<void> {
  const config = await loadProcessConfig();
  const { log, reopen, flush } = await openLog(config);
  const composed = await compose(config, { log });
  const server = await buildServer(composed, {
    log,
    metrics: createMetrics(),
    pagesDirectory: directoryOf('web/dist'),
    docsDirectory: directoryOf('docs'),
  });
  try {
    await server.listen({ host: config.host, port: config.port });
  } catch (error) {
    await composed.countersign.close();
    throw listenError(error as NodeJS.ErrnoException, config);
  }
  process.on('SIGHUP', reopen);
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void stop(signal));
  process.once('exit', flush);
  log.info(
    {
      mode: config.mode,
      address: addressOf(server, config.host),
      apps: [...config.apps.keys()],
      providers: composed.countersign.providers.list(),
    },
    'listening',
  );
  if (config.mode === 'development') process.stdout.write(greeting(server, config));

  async function stop(signal: string): Promise<void> {
    log.info({ signal }, 'stopping');
    setTimeout(() => {
      log.error({}, 'requests under way did not end in time');
      process.exit(1);
    }, STOP_PATIENCE_MS).unref();
    await server.close();
    await composed.countersign.close();
    log.info({}, 'stopped');
    process.exit(0);
  }
}

/** In a clone the folder beside `src/`; in the published package the one beside the code. */
function directoryOf(name: string): string {
  const inPackage = join(import.meta.dirname, '..', name);
  return existsSync(inPackage) ? inPackage : join(import.meta.dirname, '..', '..', name);
}

function listenError(error: NodeJS.ErrnoException, { host, port }: Config): Error {
  if (error.code === 'EADDRINUSE')
    return new CliError(
      `Port ${port} is in use on ${host}. Stop what listens there, or set another: PORT=${port + 1} npm start`,
    );
  if (error.code === 'EACCES')
    return new CliError(`This user may not listen on port ${port}. Set PORT to one above 1023.`);
  if (error.code === 'EADDRNOTAVAIL' || error.code === 'ENOTFOUND')
    return new CliError(`HOST=${host} is no address of this machine.`);
  return error;
}

function greeting(server: FastifyInstance, config: Config): string {
  const address = addressOf(server, config.host);
  return `
  Countersign is ready: ${address}

  Inbox (what would be sent):  ${address}/inbox
  API:                         ${address}/docs

  Send a code:
    curl -s ${address}/v1/verifications -H 'Content-Type: application/json' -d '{"to":"+998901234567"}'

`;
}
