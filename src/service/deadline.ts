/** Rejects what was asked and not answered in time. */
export class TooLate extends Error {
  override readonly name = 'TooLate';
}

/**
 * Asks a provider, for so long and no longer: it is told by a signal, and whatever it makes of that, nobody waits on.
 * @throws TooLate, and whatever `ask` throws, also when it throws instead of rejecting
 */
export async function withinDeadline<Answer>(
  ms: number,
  ask: (signal: AbortSignal) => Promise<Answer> | Answer,
): Promise<Answer> {
  const controller = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      controller.abort(new DOMException('The provider did not answer in time.', 'TimeoutError'));
      // One turn, for a provider that says at once what it knows: nothing had left, say.
      setImmediate(() => reject(new TooLate()));
    }, ms);
  });
  try {
    return await Promise.race([ask(controller.signal), late]);
  } finally {
    clearTimeout(timer);
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
