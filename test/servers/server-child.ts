// A process with servers of its own, to be killed: says on stdout which they are, and waits.
import { setInterval } from 'node:timers';
import { forgetful, startPostgres } from './postgres.ts';
import { startRedis } from './redis.ts';

const servers = await Promise.all([startPostgres({ settings: forgetful }), startRedis()]);
console.log(JSON.stringify(servers.map(({ pid, directory }) => ({ pid, directory }))));
setInterval(() => {}, 60_000);
