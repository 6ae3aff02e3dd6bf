import Value from 'typebox/value';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SignedIn } from '../../src/index.ts';
import { type Answer, httpClient } from './http-client.ts';
import { type RunningServer, startServer, wrong } from './running-server.ts';

type Schema = Record<string, unknown>;
type Response = { description?: string; content?: Record<string, { schema: Schema }> };
type Operation = {
  operationId?: string;
  summary?: string;
  tags?: string[];
  security?: unknown[];
  parameters?: { name: string; in: string; required?: boolean; schema: Schema }[];
  requestBody?: { content: Record<string, { schema: Schema }> };
  responses: Record<string, Response>;
};

type Document = {
  openapi: string;
  info: { title?: string; version?: string };
  tags: { name: string }[];
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Schema>; securitySchemes: Record<string, Schema> };
};

let server: RunningServer;
let document: Document;
let operations: { method: string; path: string; operation: Operation }[];
beforeAll(async () => {
  server = await startServer();
  document = (await server.call('GET', '/openapi.json')).json as unknown as Document;
  operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ method: method.toUpperCase(), path, operation })),
  );
});
afterAll(() => server.close());

describe('/openapi.json', () => {
  it('is OpenAPI 3.1 with every route of the API', () => {
    expect(document).toMatchObject({ openapi: '3.1.0', info: { title: 'Countersign', version: '1' } });
    expect(operations.map(({ method, path }) => `${method} ${path}`).sort()).toEqual([
      'DELETE /v1/numbers/{number}',
      'DELETE /v1/users/me',
      'DELETE /v1/users/me/token',
      'DELETE /v1/users/{id}',
      'DELETE /v1/users/{id}/tokens',
      'DELETE /v1/verifications/{id}',
      'GET /.well-known/jwks.json',
      'GET /healthz',
      'GET /readyz',
      'GET /v1/messages',
      'GET /v1/messages/{id}',
      'GET /v1/numbers/{number}',
      'GET /v1/providers',
      'GET /v1/reports/{provider}/{secret}',
      'GET /v1/usage',
      'GET /v1/users/me',
      'GET /v1/users/{id}',
      'GET /v1/verifications/{id}',
      'PATCH /v1/users/me',
      'POST /v1/check',
      'POST /v1/messages',
      'POST /v1/reports/{provider}/{secret}',
      'POST /v1/routes/explain',
      'POST /v1/verifications',
      'POST /v1/verifications/{id}/check',
      'POST /v1/verifications/{id}/resend',
    ]);
  });

  it('names every operation once, with a summary and a tag of the list', () => {
    const ids = operations.map(({ operation }) => operation.operationId);
    expect(ids).not.toContain(undefined);
    expect(new Set(ids).size).toBe(ids.length);
    for (const { operation } of operations)
      expect(operation).toMatchObject({ summary: expect.any(String), tags: [expect.any(String)] });
    // The page shows the tags in the order of the list, and one that is missing there last.
    expect(new Set(operations.flatMap(({ operation }) => operation.tags ?? []))).toEqual(
      new Set(document.tags.map(({ name }) => name)),
    );
  });

  it('has no reference that leads nowhere', () => {
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]*)"/g)].map(
      ([, reference = '']) => reference,
    );
    expect(references.length).toBeGreaterThan(0);
    for (const reference of references) expect(resolve(reference), reference).toBeTypeOf('object');
  });

  it('declares each parameter of a path, and no other', () => {
    for (const { path, operation } of operations) {
      const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      const declared = (operation.parameters ?? []).filter((parameter) => parameter.in === 'path');
      expect(
        declared.map(({ name }) => name),
        path,
      ).toEqual(inPath);
      expect(
        declared.every(({ required }) => required === true),
        path,
      ).toBe(true);
    }
  });

  it('has a 2xx of each operation, and refusals as application/problem+json alone', () => {
    for (const { method, path, operation } of operations) {
      const place = `${method} ${path}`;
      const statuses = Object.keys(operation.responses);
      expect(
        statuses.some((status) => /^2\d\d$/.test(status)),
        place,
      ).toBe(true);
      if (path !== '/healthz') expect(statuses, place).toEqual(expect.arrayContaining(['4XX', '5XX']));
      for (const [status, { content, description }] of Object.entries(operation.responses)) {
        expect(description, `${place} ${status}`).toBeTruthy();
        if (/^2/.test(status)) continue;
        expect(content, `${place} ${status}`).toEqual({
          'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } },
        });
      }
    }
  });

  it('asks for a key everywhere in the API, and nowhere else', () => {
    expect(document).toMatchObject({
      security: [{ key: [] }],
      components: { securitySchemes: { key: { type: 'http', scheme: 'bearer' } } },
    });
    const open = operations.filter(({ operation }) => operation.security?.length === 0).map(({ path }) => path);
    const reports = '/v1/reports/{provider}/{secret}';
    expect(open.sort()).toEqual(['/.well-known/jwks.json', '/healthz', '/readyz', reports, reports]);
    const byToken = operations.filter(({ operation }) => JSON.stringify(operation.security)?.includes('accessToken'));
    const ofUser = operations.filter(({ path }) => path.startsWith('/v1/users/me'));
    expect(byToken).toEqual(ofUser);
    for (const { operation } of byToken) expect(operation.security).toEqual([{ accessToken: [] }]);
  });

  it('names the server under its public address', async () => {
    const published = await startServer({ file: { publicUrl: 'https://verify.example/' } });
    const call = httpClient(published.origin);
    expect((await call('GET', '/openapi.json')).json['servers']).toEqual([{ url: 'https://verify.example' }]);
    call.close();
    await published.close();
  });

  it('hides the inbox, which is no part of the API, and shows nothing of development in its example values', () => {
    expect(Object.keys(document.paths).filter((path) => /inbox|docs|metrics/.test(path))).toEqual([]);
  });
});

describe('answers', () => {
  it('are what the document says, for each operation and for their refusals', async () => {
    const to = '+998901234567';
    const { id, code } = await server.start(to, { subject: 'u1', metadata: { a: 'b' } });
    const message = await server.call('POST', '/v1/messages', { body: { to, text: 'Hello' } });
    server.clock.now += 60_000;
    const second = await server.start('+998901234568');
    const third = await server.start('+998901234569');
    const report = JSON.stringify({ providerMessageId: 'phone-x', state: 'delivered' });
    const secret = server.composed.reportSecretOf('phone');
    const signed = { headers: { 'x-signature': 'good' }, body: report };
    const seen = new Set<string>();
    const expectDocumented = (answer: Answer, method: string, template: string) => {
      const operation = document.paths[template]?.[method.toLowerCase()];
      const key =
        operation?.responses[String(answer.status)] === undefined
          ? `${String(answer.status)[0]}XX`
          : String(answer.status);
      const response = operation?.responses[key];
      expect(response, `${method} ${template} ${answer.status}`).toBeDefined();
      seen.add(`${method} ${template} ${key}`);
      if (answer.status === 204) return expect(answer.text).toBe('');
      const type = answer.headers['content-type']?.split(';')[0];
      const schema = response?.content?.[type ?? '']?.schema;
      expect(schema, `${method} ${template} ${answer.status} ${type}`).toBeDefined();
      const value = type === 'text/plain' ? answer.text : answer.json;
      expect([...Value.Errors(inlined(schema ?? {}), value)], `${method} ${template} ${answer.text}`).toEqual([]);
      expect(fieldsBeyond(inlined(schema ?? {}), answer.json), `${method} ${template} ${answer.text}`).toEqual([]);
    };
    const ask = async (method: string, template: string, path: string, status: number, more = {}) => {
      const answer = await server.call(method, path, more);
      expect(answer.status, `${method} ${path}: ${answer.text}`).toBe(status);
      expectDocumented(answer, method, template);
    };
    await ask('GET', '/healthz', '/healthz', 200);
    await ask('GET', '/readyz', '/readyz', 200);
    await ask('GET', '/.well-known/jwks.json', '/.well-known/jwks.json', 200);
    await ask('POST', '/v1/verifications', '/v1/verifications', 201, { body: { to: '+998901234560' } });
    await ask('POST', '/v1/verifications', '/v1/verifications', 400, { body: { to: '' } });
    await ask('POST', '/v1/verifications/{id}/resend', `/v1/verifications/${id}/resend`, 200);
    await ask('POST', '/v1/verifications/{id}/resend', `/v1/verifications/${id}/resend`, 429);
    await ask('GET', '/v1/verifications/{id}', `/v1/verifications/${id}`, 200);
    await ask('GET', '/v1/verifications/{id}', '/v1/verifications/x', 404);
    await ask('POST', '/v1/verifications/{id}/check', `/v1/verifications/${id}/check`, 422, {
      body: { code: wrong(code) },
    });
    await ask('POST', '/v1/verifications/{id}/check', `/v1/verifications/${id}/check`, 200, { body: { code } });
    await ask('POST', '/v1/verifications/{id}/check', `/v1/verifications/${id}/check`, 410, { body: { code } });
    await ask('POST', '/v1/check', '/v1/check', 422, { body: { to: '+998901234568', code: wrong(second.code) } });
    await ask('POST', '/v1/check', '/v1/check', 200, { body: { to: '+998901234568', code: second.code } });
    await ask('DELETE', '/v1/verifications/{id}', `/v1/verifications/${third.id}`, 200);
    await ask('DELETE', '/v1/verifications/{id}', `/v1/verifications/${third.id}`, 410);
    await ask('POST', '/v1/messages', '/v1/messages', 201, { body: { to, text: 'Hello' } });
    await ask('POST', '/v1/messages', '/v1/messages', 400, { body: { to, text: '' } });
    await ask('GET', '/v1/messages', '/v1/messages?limit=1', 200);
    await ask('GET', '/v1/messages', '/v1/messages?limit=x', 400);
    await ask('GET', '/v1/messages/{id}', `/v1/messages/${message.json['id']}`, 200);
    await ask('GET', '/v1/messages/{id}', '/v1/messages/x', 404);
    await ask('GET', '/v1/numbers/{number}', `/v1/numbers/${to}`, 200);
    await ask('GET', '/v1/numbers/{number}', '/v1/numbers/garbage', 400);
    const [mine, theirs] = [await signIn('+998901234571'), await signIn('+998901234572')];
    const shown = { headers: { authorization: `Bearer ${mine.accessToken}` } };
    await ask('GET', '/v1/users/me', '/v1/users/me', 200, shown);
    await ask('GET', '/v1/users/me', '/v1/users/me', 401);
    await ask('PATCH', '/v1/users/me', '/v1/users/me', 200, { ...shown, body: { full_name: 'Anna' } });
    await ask('PATCH', '/v1/users/me', '/v1/users/me', 400, { ...shown, body: { name: '' } });
    const again = await signIn('+998901234571');
    await ask('DELETE', '/v1/users/me/token', '/v1/users/me/token', 204, shown);
    await ask('DELETE', '/v1/users/me', '/v1/users/me', 204, {
      headers: { authorization: `Bearer ${again.accessToken}` },
    });
    await ask('GET', '/v1/users/{id}', `/v1/users/${theirs.user.id}`, 200);
    await ask('GET', '/v1/users/{id}', `/v1/users/${mine.user.id}`, 404);
    await ask('DELETE', '/v1/users/{id}/tokens', `/v1/users/${theirs.user.id}/tokens`, 204);
    await ask('DELETE', '/v1/users/{id}', `/v1/users/${theirs.user.id}`, 204);
    await ask('DELETE', '/v1/users/{id}', `/v1/users/${theirs.user.id}`, 404);
    await ask('DELETE', '/v1/numbers/{number}', `/v1/numbers/${to}`, 204);
    await ask('DELETE', '/v1/numbers/{number}', '/v1/numbers/garbage', 400);
    const [reports, itsReports] = ['/v1/reports/{provider}/{secret}', `/v1/reports/phone/${secret}`];
    await ask('POST', reports, itsReports, 200, signed);
    await ask('POST', reports, itsReports, 400, { ...signed, headers: {} });
    await ask('POST', reports, '/v1/reports/phone/guess', 404, signed);
    await ask('GET', reports, `${itsReports}?challenge=1158201444`, 200, { headers: signed.headers });
    await ask('GET', reports, `${itsReports}?challenge=1158201444`, 400);
    await ask('POST', '/v1/routes/explain', '/v1/routes/explain', 200, { body: { to } });
    await ask('POST', '/v1/routes/explain', '/v1/routes/explain', 400, { body: { to: '12' } });
    await ask('GET', '/v1/providers', '/v1/providers', 200);
    await ask('GET', '/v1/usage', '/v1/usage', 200);
    await ask('GET', '/v1/usage', '/v1/usage?from=yesterday', 400);
    const successes = [...seen].filter((line) => / 2\d\d$/.test(line));
    expect(successes).toHaveLength(operations.length);
  });
});

async function signIn(to: string): Promise<SignedIn> {
  const { verifications, users } = server.composed.countersign;
  const { id, code } = await server.start(to);
  const approved = await verifications.check({ id, code });
  const answer = approved.kind === 'approved' ? await users.signIn({ approved }) : approved;
  if (answer.kind === 'refused') throw new Error(answer.detail);
  return answer;
}

function resolve(reference: string): unknown {
  return reference
    .replace(/^#\//, '')
    .split('/')
    .reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], document);
}

/** The schema with all references written out. */
function inlined(schema: unknown): Schema {
  if (Array.isArray(schema)) return schema.map(inlined) as unknown as Schema;
  if (typeof schema !== 'object' || schema === null) return schema as unknown as Schema;
  const { $ref, ...rest } = schema as Schema;
  if (typeof $ref === 'string') return inlined(resolve($ref));
  return Object.fromEntries(Object.entries(rest).map(([key, value]) => [key, inlined(value)]));
}

/** Fields of an answer that the document does not name. */
function fieldsBeyond(schema: Schema, value: unknown, place = ''): string[] {
  if (Array.isArray(value)) return value.flatMap((item) => fieldsBeyond(schema['items'] as Schema, item, `${place}[]`));
  if (typeof value !== 'object' || value === null) return [];
  const properties = schema['properties'] as Record<string, Schema> | undefined;
  if (properties === undefined) return [];
  return Object.entries(value).flatMap(([key, item]) => {
    const known = properties[key];
    return known === undefined ? [`${place}.${key}`] : fieldsBeyond(known, item, `${place}.${key}`);
  });
}
