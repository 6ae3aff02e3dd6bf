import { randomInt } from 'node:crypto';

const CALLERS = 4;

/**
 * Back ends that start and check verifications, one after the other and without a pause, each request by a connection of
 * its own. A failure is an answer that is not as it should be, or none.
 */
export function steadyCaller(origin: string) {
  let isStopped = false;
  let pairs = 0;
  const failures: string[] = [];

  async function post(path: string, body: object): Promise<{ code?: string; id?: string }> {
    const response = await fetch(`${origin}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', connection: 'close' },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(10_000),
    });
    if (!response.ok) throw new Error(`${path.replaceAll(/ver_\w+/g, '…')}: ${response.status}`);
    return (await response.json()) as { code?: string; id?: string };
  }

  async function call(): Promise<void> {
    while (!isStopped) {
      try {
        const { id = '', code = '' } = await post('/v1/verifications', {
          to: `+99890${randomInt(1_000_000, 9_999_999)}`,
        });
        await post(`/v1/verifications/${id}/check`, { code });
        pairs += 1;
      } catch (error) {
        const { message, cause } = error as Error;
        failures.push(cause instanceof Error ? `${message}: ${cause.message}` : message);
      }
      // As long as nothing goes wrong the pace is the service's own.
      await new Promise((resolve) => setTimeout(resolve, failures.length > 0 ? 100 : 5));
    }
  }

  const calling = Promise.all(Array.from({ length: CALLERS }, call));
  return {
    async stop(): Promise<{ pairs: number; failures: readonly string[] }> {
      isStopped = true;
      await calling;
      return { pairs, failures };
    },
  };
}
