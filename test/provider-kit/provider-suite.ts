import type { TObject } from 'typebox';
import { describe, expect, it } from 'vitest';
import type { PhoneNumber } from '../../src/domain/phone-number.ts';
import type { MessagingProvider, OutgoingMessage, SendOutcome } from '../../src/domain/provider.ts';
import type { MessagingDefinition } from '../../src/provider-kit/define-provider.ts';
import {
  type AnyFixtures,
  CODE,
  describeProbe,
  describeReports,
  describeSettings,
  type Misbehaviour,
  PROMPT_MS,
  setStage,
  TO,
} from './provider-bench.ts';

export { benchOf } from './provider-bench.ts';

export type ProviderFixtures<Settings extends TObject> = AnyFixtures<Settings> & {
  readonly definition: MessagingDefinition<Settings>;
  /** The message to send, where the usual one does not do. */
  readonly message?: Partial<OutgoingMessage>;
  /** Which requests one `send` makes when all goes well: 1, or more for a provider with a login. */
  readonly requestsPerSend?: number;
};

export function outgoingMessage(over: Partial<OutgoingMessage> = {}): OutgoingMessage {
  return {
    messageId: 'msg_00000000000000000000000001',
    to: TO as PhoneNumber,
    channel: 'sms',
    text: `Your code is ${CODE}`,
    code: CODE,
    brand: 'Acme',
    locale: 'en',
    validitySeconds: 300,
    ...over,
  };
}

/**
 * What must hold for every messaging provider.
 * @example describeProvider('acme', { definition: acme, open: openAcmeSimulator, … });
 */
export function describeProvider<Settings extends TObject>(name: string, fixtures: ProviderFixtures<Settings>): void {
  describe(`messaging provider: ${name}`, () => {
    const stage = setStage(fixtures, fixtures.definition.create);
    const { bench, open, closeBench, hear, itMisbehaves } = stage;
    const { requestsPerSend = 1 } = fixtures;

    // Each message has its own id, as some vendors have us make theirs.
    let sent = 0;
    const send = async (provider: MessagingProvider, signal = AbortSignal.timeout(10_000)): Promise<SendOutcome> => {
      sent += 1;
      const messageId = `msg_${String(sent).padStart(26, '0')}`;
      return hear(await provider.send(outgoingMessage({ messageId, ...fixtures.message }), signal));
    };

    describeSettings(fixtures, stage);

    describe('sending', () => {
      it('says accepted, with an id of its own for each message', async () => {
        const provider = await open();
        const ids = [await send(provider), await send(provider)].map((outcome) => {
          expect(outcome).toMatchObject({ kind: 'accepted', providerMessageId: expect.stringMatching(/\S/) });
          return outcome.kind === 'accepted' ? outcome.providerMessageId : undefined;
        });
        expect(new Set(ids).size).toBe(2);
      });

      it('carries twenty messages at once', async () => {
        const provider = await open();
        const outcomes = await Promise.all(Array.from({ length: 20 }, () => send(provider)));
        expect(outcomes.map(({ kind }) => kind)).toEqual(Array.from({ length: 20 }, () => 'accepted'));
      });

      it('blames the account for wrong credentials', async () => {
        const outcome = await send(await open(fixtures.wrongSettings(bench().url)));
        expect(outcome).toMatchObject({ kind: 'failed', reason: 'account' });
      });

      const refusals: readonly (readonly [Misbehaviour, string])[] = [
        ['bad-number', 'stops at a number that is invalid for everybody'],
        ['refuse-inside-2xx', 'sees a refusal inside a 2xx'],
        ['throttle', 'says throttled when asked to slow down'],
        ['credentials', 'blames the account when the credentials are refused from one moment to the next'],
        ['balance', 'blames the account when it is empty'],
        ['content', 'blames the content when the text or the sender is refused'],
        ['server-error', 'does not know after a 500 whether the message went out'],
        ['garbage', 'says uncertain after a 2xx that breaks off'],
        ['html', 'says uncertain after a page instead of an answer'],
        ['empty', 'says uncertain after an empty 2xx'],
        ['invalid-utf8', 'says uncertain after bytes that are no text'],
        ['huge', 'says uncertain after ten megabytes, and does not read them all'],
        ['no-id', 'says uncertain after a 2xx without an id'],
        ['drop-before-reading', 'survives a connection that closes before the request is read'],
        ['drop-after-reading', 'says uncertain when the connection closes after the request'],
      ];
      for (const [what, sentence] of refusals) {
        itMisbehaves(what, sentence, async (reasons) => {
          const provider = await open();
          bench().misbehave(what);
          const outcome = await send(provider);
          expect(outcome).toMatchObject({ kind: 'failed', code: expect.stringMatching(/^[\w .:-]{1,64}$/) });
          expect(reasons).toContain(outcome.kind === 'failed' ? outcome.reason : undefined);
          // Whatever happened is over: the next message is not touched by it.
          expect(await send(provider)).toMatchObject({ kind: 'accepted' });
        });
      }

      itMisbehaves('redirect', 'follows no redirect', async (reasons) => {
        const provider = await open();
        bench().misbehave('redirect');
        const outcome = await send(provider);
        expect(reasons).toContain(outcome.kind === 'failed' ? outcome.reason : undefined);
        // A provider with a login may ask for a token besides the one redirected request.
        expect(bench().requestCount()).toBeLessThanOrEqual(requestsPerSend);
      });

      it('says unavailable when nobody listens', async () => {
        const provider = await open();
        await closeBench();
        expect(await send(provider)).toMatchObject({ kind: 'failed', reason: 'unavailable' });
      });

      it('says unavailable, and sends nothing, for an attempt that is over before it begins', async () => {
        const outcome = await send(await open(), AbortSignal.abort());
        expect(outcome).toMatchObject({ kind: 'failed', reason: 'unavailable' });
        expect(bench().requestCount()).toBe(0);
      });
    });

    describe('deadlines', () => {
      for (const what of ['stall', 'stall-in-body'] as const) {
        itMisbehaves(what, `ends promptly when aborted: ${what}`, async (reasons) => {
          const provider = await open();
          const attempt = new AbortController();
          bench().misbehave(what);
          const outcome = send(provider, attempt.signal);
          await bench().received(requestsPerSend);
          const abortedAt = performance.now();
          attempt.abort();
          const settled = await outcome;
          expect(performance.now() - abortedAt).toBeLessThan(PROMPT_MS);
          expect(reasons).toContain(settled.kind === 'failed' ? settled.reason : undefined);
          expect(await send(provider)).toMatchObject({ kind: 'accepted' });
        });
      }

      itMisbehaves('stall', 'keeps to the deadline of its signal', async () => {
        const provider = await open();
        bench().misbehave('stall');
        const startedAt = performance.now();
        const outcome = await send(provider, AbortSignal.timeout(200));
        expect(performance.now() - startedAt).toBeLessThan(200 + PROMPT_MS);
        expect(outcome).toMatchObject({ kind: 'failed' });
      });
    });

    describeReports(fixtures.reports, stage);
    describeProbe(fixtures, stage, requestsPerSend);
  });
}
