import { request as httpRequest } from 'node:http';
import { Type } from 'typebox';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DialectRoute, defineDialect, dialectRoute, django, fastApi, ok } from '../../../src/index.ts';
import { type Answer, speak } from '../http-client.ts';
import { type RunningServer, startServer } from '../running-server.ts';

/** Fields of every kind that a fault can be about. What was read is said back. */
function routesFor(path: string): DialectRoute[] {
  return [
    dialectRoute({
      path,
      body: Type.Object({
        phone: Type.String({ minLength: 2, maxLength: 20 }),
        pin: Type.Optional(Type.String({ minLength: 2, pattern: '^[0-9]+$' })),
        // Every object of JavaScript has one.
        constructor: Type.Optional(Type.String()),
        age: Type.Optional(Type.Integer()),
        nick: Type.Optional(Type.String({ minLength: 1, maxLength: 1 })),
      }),
      handle: async ({ body }) => ok({ read: body }),
    }),
    dialectRoute({
      path,
      method: 'PUT',
      body: Type.Object({}),
      handle: async () => ok({ put: true }),
    }),
    dialectRoute({
      path: `${path}/bug`,
      body: Type.Object({}),
      async handle() {
        throw new Error('of +998901234567 and 123456');
      },
    }),
    dialectRoute({ path: `${path}/me`, signedIn: true, body: Type.Object({}), handle: async () => ok({}) }),
  ];
}

let server: RunningServer;
beforeAll(async () => {
  server = await startServer({
    file: {
      apps: {
        shop: {
          bearer: { secret: 'development' },
          dialect: [
            defineDialect({ id: 'fast', framework: fastApi, routes: routesFor('/fast') }),
            defineDialect({ id: 'rest', framework: django, routes: routesFor('/rest') }),
          ],
        },
      },
    },
  });
});
afterAll(() => server.close());

const JSON_TYPE = { 'content-type': 'application/json' };
const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
  server.call('POST', path, { body, headers });
const said = ({ status, json }: Answer) => [status, json] as const;
const read = (body: object) => [200, { read: body }] as const;

const fault = (loc: readonly (string | number)[], msg: string, type: string) => ({ detail: [{ loc, msg, type }] });
const noObject = fault(
  ['body'],
  'Input should be a valid dictionary or object to extract fields from',
  'model_attributes_type',
);
const notJson = fault(['body', 0], 'JSON decode error', 'json_invalid');
const noText = fault(['body', 'phone'], 'Input should be a valid string', 'string_type');
const parseError = { detail: 'JSON parse error - Expecting value: line 1 column 1 (char 0)' };
const expectedDictionary = (type: string) => ({
  non_field_errors: [`Invalid data. Expected a dictionary, but got ${type}.`],
});
const unsupported = (type: string) => ({ detail: `Unsupported media type "${type}" in request.` });

type Case = readonly [what: string, body: unknown, fast: readonly [number, object], rest: readonly [number, object]];
const good = { phone: '12345' };

const cases: readonly Case[] = [
  [
    'no body',
    undefined,
    [422, fault(['body'], 'Field required', 'missing')],
    [400, { phone: ['This field is required.'] }],
  ],
  ['half an object', '{"phone":', [422, notJson], [400, parseError]],
  ['a list', '[]', [422, noObject], [400, expectedDictionary('list')]],
  ['null', 'null', [422, noObject], [400, expectedDictionary('NoneType')]],
  ['a text', '"12345"', [422, noObject], [400, expectedDictionary('str')]],
  ['a whole number', '12345', [422, noObject], [400, expectedDictionary('int')]],
  ['a fraction', '1.5', [422, noObject], [400, expectedDictionary('float')]],
  ['a boolean', 'false', [422, noObject], [400, expectedDictionary('bool')]],
  [
    'a missing field',
    {},
    [422, fault(['body', 'phone'], 'Field required', 'missing')],
    [400, { phone: ['This field is required.'] }],
  ],
  ['null in a field', { phone: null }, [422, noText], [400, { phone: ['This field may not be null.'] }]],
  ['a list in a field', { phone: ['1'] }, [422, noText], [400, { phone: ['Not a valid string.'] }]],
  ['a boolean in a field', { phone: true }, [422, noText], [400, { phone: ['Not a valid string.'] }]],
  ['a number in a field', { phone: 12345 }, [422, noText], read({ phone: '12345' })],
  [
    'a text that is too short',
    { phone: '1' },
    [422, fault(['body', 'phone'], 'String should have at least 2 characters', 'string_too_short')],
    [400, { phone: ['Ensure this field has at least 2 characters.'] }],
  ],
  [
    'a text that is too long',
    { phone: '1'.repeat(21) },
    [422, fault(['body', 'phone'], 'String should have at most 20 characters', 'string_too_long')],
    [400, { phone: ['Ensure this field has no more than 20 characters.'] }],
  ],
  [
    'no text where one character is wanted',
    { ...good, nick: '' },
    [422, fault(['body', 'nick'], 'String should have at least 1 character', 'string_too_short')],
    [400, { nick: ['This field may not be blank.'] }],
  ],
  [
    'two characters where one is wanted',
    { ...good, nick: 'ab' },
    [422, fault(['body', 'nick'], 'String should have at most 1 character', 'string_too_long')],
    [400, { nick: ['Ensure this field has no more than 1 characters.'] }],
  ],
  [
    'another form',
    { ...good, pin: 'abc' },
    [422, fault(['body', 'pin'], 'String should match the pattern', 'string_pattern_mismatch')],
    [400, { pin: ['Enter a valid value.'] }],
  ],
  [
    'no whole number',
    { ...good, age: true },
    [422, fault(['body', 'age'], 'Input should be a valid integer', 'int_type')],
    [400, { age: ['A valid integer is required.'] }],
  ],
  [
    'several faults at once, in the order of the fields',
    { nick: 'ab', pin: 'xy', phone: null },
    [
      422,
      {
        detail: [
          ...noText.detail,
          ...fault(['body', 'pin'], 'String should match the pattern', 'string_pattern_mismatch').detail,
          ...fault(['body', 'nick'], 'String should have at most 1 character', 'string_too_long').detail,
        ],
      },
    ],
    [
      400,
      {
        phone: ['This field may not be null.'],
        pin: ['Enter a valid value.'],
        nick: ['Ensure this field has no more than 1 characters.'],
      },
    ],
  ],
  [
    'more than one fault in a field, of which the first is told',
    { ...good, pin: 'x' },
    [422, fault(['body', 'pin'], 'String should have at least 2 characters', 'string_too_short')],
    [400, { pin: ['Ensure this field has at least 2 characters.'] }],
  ],
];

describe('the shapes of FastAPI and of Django REST Framework', () => {
  it.each(cases)('%s', async (_, body, fast, rest) => {
    const answers = [await post('/fast', body), await post('/rest', body)];
    expect(answers.map(said)).toEqual([fast, rest]);
    for (const { headers } of answers) expect(headers['content-type']).toBe('application/json');
  });

  it('are those of their errors too: no token, a bad one, another method, a bug', async () => {
    const answers = async (path: string) => [
      await post(`${path}/me`, {}),
      await post(`${path}/me`, {}, { authorization: 'Basic YTpi' }),
      await post(`${path}/me`, {}, { authorization: 'Bearer' }),
      await post(`${path}/me`, {}, { authorization: 'Bearer a.b.c' }),
      await server.call('GET', path),
      await post(`${path}/bug`, {}),
    ];
    const facts = ({ status, json, headers }: Answer) => [
      status,
      json['detail'],
      headers['www-authenticate'] ?? headers.allow,
    ];
    const missing = 'Authentication credentials were not provided.';
    expect((await answers('/fast')).map(facts)).toEqual([
      [401, 'Not authenticated', 'Bearer'],
      [401, 'Not authenticated', 'Bearer'],
      [401, 'Not authenticated', 'Bearer'],
      [401, 'Could not validate credentials', 'Bearer'],
      [405, 'Method Not Allowed', 'POST, PUT'],
      [500, 'Internal Server Error', undefined],
    ]);
    expect((await answers('/rest')).map(facts)).toEqual([
      [401, missing, 'Bearer realm="api"'],
      [401, missing, 'Bearer realm="api"'],
      [401, missing, 'Bearer realm="api"'],
      [401, 'Invalid token.', 'Bearer realm="api"'],
      [405, 'Method "GET" not allowed.', 'POST, PUT'],
      [500, 'Internal server error.', undefined],
    ]);
    expect(server.logged.filter((line) => line.includes('"bug"'))).toHaveLength(2);
  });
});

describe.each(['/fast', '/rest'])('bodies that are made to break something, at %s', (path) => {
  const bytesOf = (...parts: readonly (string | number[])[]) =>
    Buffer.concat(parts.map((part) => Buffer.from(part as string)));
  const unreadable = path === '/fast' ? [422, notJson] : [400, parseError];
  const notText = path === '/fast' ? [422, noText] : [400, { phone: ['Not a valid string.'] }];

  it('reads its own fields alone, and no name that JavaScript has a meaning for', async () => {
    for (const body of [
      '{"phone":"12345","__proto__":{"age":7,"nick":"a"},"prototype":{"age":7}}',
      '{"phone":"12345","toString":"a","hasOwnProperty":"b","valueOf":1,"extra":{"a":[]}}',
    ])
      expect(said(await post(path, body))).toEqual(read({ phone: '12345' }));
    // A required field is none that every object inherits.
    const inherited = await post(path, '{"__proto__":{"phone":"12345"}}');
    expect(inherited.status).toBe(path === '/fast' ? 422 : 400);
    expect(({} as Record<string, unknown>)['age']).toBeUndefined();
    expect(said(await post(path, {}))[0]).toBe(path === '/fast' ? 422 : 400);
  });

  it('is not impressed by depth: 8 000 lists in a field, or around everything', async () => {
    const depth = 8000;
    expect(said(await post(path, `{"phone":${'['.repeat(depth)}${']'.repeat(depth)}}`))).toEqual(notText);
    expect(said(await post(path, `{"phone":"12345","x":${'{"a":'.repeat(2000)}1${'}'.repeat(2000)}}`))).toEqual(
      read({ phone: '12345' }),
    );
    expect((await post(path, `${'['.repeat(depth)}${']'.repeat(depth)}`)).json).toEqual(
      path === '/fast' ? noObject : expectedDictionary('list'),
    );
    expect(said(await post(path, '['.repeat(10_000)))).toEqual(unreadable);
    // Both ends of 10 000 of them are more than is read at all.
    const tooLarge = await post(path, `${'['.repeat(10_000)}${']'.repeat(10_000)}`);
    expect([tooLarge.status, Object.keys(tooLarge.json)]).toEqual([413, ['detail']]);
  });

  it('takes the last of two fields with one name, as Python does', async () => {
    expect(said(await post(path, '{"phone":"11111","phone":"12345"}'))).toEqual(read({ phone: '12345' }));
    expect(said(await post(path, '{"phone":"12345","phone":[]}'))).toEqual(notText);
    expect(said(await post(path, '{"phone":[],"ph\\u006fne":"12345"}'))).toEqual(read({ phone: '12345' }));
  });

  it('says of numbers without end what they are', async () => {
    for (const [number, digits] of [
      ['1e400', 'Infinity'],
      ['-1e400', '-Infinity'],
      ['1e999999', 'Infinity'],
      ['12345678901234567890', '12345678901234567000'],
    ])
      expect(said(await post(path, `{"phone":${number}}`))).toEqual(
        path === '/fast' ? [422, noText] : read({ phone: digits }),
      );
    expect((await post(path, `{"phone":${'9'.repeat(10_000)}}`)).status).toBe(path === '/fast' ? 422 : 200);
    expect(said(await post(path, '{"phone":NaN}'))).toEqual(unreadable);
  });

  it('reads UTF-8 with its mark, and nothing that is no UTF-8', async () => {
    expect(said(await post(path, bytesOf([0xef, 0xbb, 0xbf], '{"phone":"12345"}')))).toEqual(read({ phone: '12345' }));
    expect(said(await post(path, bytesOf('{"phone":"Ж١😀"}')))).toEqual(read({ phone: 'Ж١😀' }));
    for (const bytes of [
      bytesOf('{"phone":"12345', [0xff], '"}'),
      bytesOf('{"phone":"12345', [0xc0, 0xaf], '"}'),
      bytesOf('{"phone":"12345', [0xed, 0xa0, 0x80], '"}'),
      bytesOf([0xff, 0xfe, ...Buffer.from('{"phone":"12345"}', 'utf16le')]),
      Buffer.from('{"phone":"12345"}', 'utf16le'),
      bytesOf([0xef, 0xbb, 0xbf, 0xef, 0xbb, 0xbf], '{"phone":"12345"}'),
      bytesOf('{"phone":"12345"}', [0]),
    ])
      expect(said(await post(path, bytes))).toEqual(unreadable);
    // A mark and nothing behind it.
    expect(said(await post(path, bytesOf([0xef, 0xbb, 0xbf])))).toEqual(unreadable);
    expect(said(await post(path, '{"phone":"12345"}'))).toEqual(read({ phone: '12345' }));
  });

  it('keeps half a surrogate pair as JSON can say it', async () => {
    const answer = await post(path, '{"phone":"12345\\ud800"}');
    expect(answer.status).toBe(200);
    expect(answer.text).toContain('"12345\\ud800"');
  });

  it.each([
    'application/json; charset=utf-8',
    'application/json;charset="UTF-8"',
    'APPLICATION/JSON',
    'application/vnd.api+json',
    'application/ld+json; profile="x"',
  ])('reads JSON that is called %s', async (type) => {
    expect(said(await post(path, good, { 'content-type': type }))).toEqual(read(good));
  });

  it.each([
    'text/plain',
    'text/json',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/json-seq',
    'application/jsonp',
    'json',
    '*/*',
    'application/+json',
    'text/plain; x=application/json',
    'application/json, text/plain',
  ])('reads no JSON that is called %s', async (type) => {
    const answer = await post(path, good, { 'content-type': type });
    const called = type.split(';')[0]?.trim() ?? '';
    expect(said(answer)).toEqual(path === '/fast' ? [422, noObject] : [415, unsupported(called)]);
  });

  it('reads no JSON that is called nothing', async () => {
    const answer = await speak(
      server.origin,
      `POST ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 17\r\n\r\n{"phone":"12345"}`,
    );
    const [head = '', body = ''] = answer.split('\r\n\r\n');
    expect(head.split(' ')[1]).toBe(path === '/fast' ? '422' : '415');
    expect(JSON.parse(body)).toEqual(path === '/fast' ? noObject : unsupported(''));
  });

  it('reads a body in chunks, without a length', async () => {
    const chunked = (...chunks: readonly string[]) =>
      new Promise<[number, unknown]>((resolve, reject) => {
        const request = httpRequest(`${server.origin}${path}`, { method: 'POST', headers: JSON_TYPE }, (response) => {
          let text = '';
          response.on('data', (chunk: Buffer) => {
            text += chunk.toString();
          });
          response.on('end', () => resolve([response.statusCode ?? 0, JSON.parse(text)]));
        });
        request.on('error', reject);
        for (const chunk of chunks) request.write(chunk);
        request.end();
      });
    expect(await chunked('{"phone', '":"12', '345"}')).toEqual(read(good));
    expect(await chunked('{"phone')).toEqual(unreadable);
    expect((await chunked(...Array.from({ length: 20 }, () => ' '.repeat(1000))))[0]).toBe(413);
  });

  it('does not wait for a body of no length', async () => {
    const answer = await speak(
      server.origin,
      `POST ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n\r\n`,
    );
    expect(answer.split(' ')[1]).toBe(path === '/fast' ? '422' : '400');
  });
});

describe('paths and methods', () => {
  it.each(['/fast', '/fast/', '/rest', '/rest/'])(
    '%s is served for its own methods, and says which they are',
    async (path) => {
      expect((await post(path, good)).status).toBe(200);
      expect((await server.call('PUT', path, { body: {} })).json).toEqual({ put: true });
      for (const method of ['GET', 'HEAD', 'PATCH', 'DELETE', 'OPTIONS']) {
        const answer = await server.call(method, path);
        expect([method, answer.status, answer.headers.allow]).toEqual([method, 405, 'POST, PUT']);
        if (method !== 'HEAD') expect(Object.keys(answer.json)).toEqual(['detail']);
      }
    },
  );

  it('are found in every encoding of theirs, and nowhere else', async () => {
    expect((await post('/%66ast', good)).status).toBe(200);
    expect((await post('/fast?phone=1', good)).status).toBe(200);
    for (const path of ['//fast', '/fast//', '/FAST', '/fast/x', '/./fast', '/fast%2F', '/fast%00', '/fas']) {
      const answer = await post(path, good);
      expect([path, answer.status]).toEqual([path, 404]);
      expect(answer.text).not.toContain('"read"');
    }
    expect((await post('/fast/%', good)).status).toBe(400);
  });
});
