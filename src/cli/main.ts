#!/usr/bin/env node
import module from 'node:module';

/** As `engines` in package.json. An older Node.js stops at the first import below with a message that helps nobody. */
const OLDEST_NODE = 24;

if (Number.parseInt(process.versions.node, 10) < OLDEST_NODE) {
  process.stderr.write(`countersign: Node.js ${OLDEST_NODE} or newer is needed; this is ${process.versions.node}.\n`);
  process.exit(1);
}
module.enableCompileCache();
const { main } = await import('./command-line.ts');
await main(process.argv.slice(2));
