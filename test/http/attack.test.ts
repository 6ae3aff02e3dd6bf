import { connect } from 'node:net';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, describe, expect, it } from 'vitest';
import { type RunningServer, startServer, wideLimits } from './running-server.ts';
import { startVerify, type VerifyBench } from './twilio-verify/verify-bench.ts';

let server: RunningServer | VerifyBench;

afterEach(() => server.close());

describe('somebody who wants free texts', () => {
  it('is counted by its address also when it hangs up right behind its request', async () => {
    const limits = { ...wideLimits, perAddress: [{ max: 3, windowSeconds: 3600 }] };
    server = await startServer({
      file: { mode: 'production', apps: { taxi: { country: 'UZ', dialect: 'royal-taxi', limits } } },
    });
    for (let each = 0; each < 20; each += 1) await askAndReset(server, { phone: `+99890${1_000_000 + each}` });
    // Whoever waits for an answer is in the same bucket, and gets it after all of the others were handled.
    const answer = await server.call('POST', '/api/v1/auth/send-otp', { body: { phone: '+998902000000' } });
    expect(server.phone.sent.length).toBeLessThanOrEqual(3);
    expect([200, 429]).toContain(answer.status);
  });
});

/** A reset instead of a goodbye: the socket then says no more whose it was. */
function askAndReset({ origin }: RunningServer, body: object): Promise<void> {
  const text = JSON.stringify(body);
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port: Number(new URL(origin).port) }, () => {
      socket.write(
        `POST /api/v1/auth/send-otp HTTP/1.1\r\nHost: taxi\r\nContent-Type: application/json\r\nContent-Length: ${text.length}\r\n\r\n${text}`,
      );
      socket.resetAndDestroy();
    });
    socket.on('error', () => {});
    socket.on('close', () => resolve());
  });
}

describe('somebody who wants the service down', () => {
  it('locks no more numbers with wrong codes than its address has guesses', async () => {
    const limits = { ...wideLimits, perAddress: [{ max: 6, windowSeconds: 3600 }] };
    server = await startServer({
      file: { mode: 'production', apps: { taxi: { country: 'UZ', maxAttempts: 5, dialect: 'royal-taxi', limits } } },
    });
    const phones = Array.from({ length: 5 }, (_, index) => `+99890123450${index}`);
    const check = (phone: string, otp_code: string) =>
      server.call('POST', '/api/v1/auth/verify-otp', { body: { phone, otp_code } });
    const answers = await Promise.all(
      phones.flatMap((phone) => Array.from({ length: 20 }, () => check(phone, '000000'))),
    );
    expect(answers.filter(({ status }) => status === 400)).toHaveLength(30);
    expect(answers.filter(({ status }) => status === 429)).toHaveLength(70);
    const starts = await Promise.all(
      phones.map((phone) => server.call('POST', '/api/v1/auth/send-otp', { body: { phone } })),
    );
    expect(starts.filter(({ status }) => status !== 200).length).toBeLessThanOrEqual(1);
    server.clock.now += 3_600_000;
    expect((await check(phones[4] ?? '', '000000')).status).toBe(400);
  });

  it('keeps nobody waiting by walks through a long history, and has four at once', async () => {
    const verify = await startVerify();
    server = verify;
    const { sid } = await verify.client.verify.v2.services.create({ friendlyName: 'Shop' });
    await verify.client.verify.v2.services(sid).verifications.create({ to: '+998901234567', channel: 'sms' });
    multiply(verify, 5000);
    const answered: string[] = [];
    const walk = async () => {
      const { status, json } = await verify.raw('GET', '/v2/Attempts/Summary');
      answered.push(status === 200 ? `${json['total_attempts']}` : `${status}`);
    };
    const walks = Array.from({ length: 6 }, walk);
    await verify.call('GET', '/healthz');
    answered.push('healthy');
    await Promise.all(walks);
    expect(answered.filter((each) => each === '5001')).toHaveLength(4);
    expect(answered.filter((each) => each === '429')).toHaveLength(2);
    expect(answered.indexOf('healthy')).toBeLessThan(answered.indexOf('5001'));
    expect((await verify.raw('GET', '/v2/Attempts/Summary')).json).toMatchObject({ total_attempts: 5001 });
  });
});

/** So many more messages of the first verification. */
function multiply({ dataDir }: RunningServer, count: number): void {
  const database = new DatabaseSync(join(dataDir, 'countersign.db'));
  const columns = database
    .prepare("SELECT name FROM pragma_table_info('message')")
    .all()
    .map(({ name }) => String(name));
  const values = columns.map((name) => (name === 'id' ? "'msg_' || printf('%026d', each)" : `first.${name}`));
  database.exec(
    `WITH RECURSIVE counted (each) AS (SELECT 1 UNION ALL SELECT each + 1 FROM counted WHERE each < ${count})
     INSERT INTO message (${columns.join(', ')})
     SELECT ${values.join(', ')} FROM counted, (SELECT * FROM message LIMIT 1) AS first`,
  );
  database.close();
}
