import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import Fastify, { type FastifyInstance } from 'fastify';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import type { PhoneNumber } from '../../src/domain/phone-number.ts';
import type { OutgoingMessage } from '../../src/domain/provider.ts';
import { inboxRoutes } from '../../src/http/routes/inbox.ts';
import { createInbox, type Inbox } from '../../src/providers/inbox.ts';

const executablePath = inject('chromium');
const pagesDirectory = fileURLToPath(new URL('../../web/dist', import.meta.url));

const english = { to: '+12125550123', text: 'Your Countersign code is 123456.' };
const uzbek = { to: '+998901234567', locale: 'uz', text: 'Tasdiqlash kodi: 246810' };
const arabic = { to: '+966501234567', locale: 'ar', text: 'رمز التحقق الخاص بك هو 135790.' };
const codeless = { to: '+447700900123', channel: 'whatsapp', text: 'Your driver is here.' } as const;

// global-setup.ts says aloud why there is no browser; in CI it fails instead.
describe.skipIf(executablePath === null)('the inbox page', () => {
  let browser: Browser;
  let inbox: Inbox;
  let app: FastifyInstance;
  let origin: string;
  /** Whatever a page complained about: scripts, resources and the content policy alike. */
  let complaints: string[];

  beforeAll(async () => {
    browser = await chromium.launch({
      ...(executablePath === null ? {} : { executablePath }),
      args: [
        '--headless',
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    });
  });
  afterAll(() => browser.close());

  beforeEach(async () => {
    inbox = createInbox({ now: Date.now });
    app = await listen(0);
    const { port } = app.server.address() as AddressInfo;
    origin = `http://localhost:${port}`;
    complaints = [];
  });
  afterEach(async () => {
    for (const context of browser.contexts()) await context.close();
    await app.close();
    expect(complaints).toEqual([]);
  });

  it('shows a message the moment it is sent', async () => {
    const page = await open();
    await send(english);
    const card = page.getByRole('article', { name: '+1 212 555 0123' });
    await card.waitFor();
    expect(await card.innerText()).toMatch(
      /SMS\s+English\s+just now\s+123456\s+Copy\s+Your Countersign code is 123456\./,
    );
    await page.getByRole('status').getByText('SMS to +1 212 555 0123: 123456').waitFor();
    await send(codeless);
    await page.getByRole('heading', { name: '2 messages' }).waitFor();
    const newest = page.getByRole('article').first();
    expect(await newest.innerText()).toContain('WhatsApp');
    expect(await newest.getByRole('button').count()).toBe(0);
  });

  it('tells how long ago a message came, and keeps telling', async () => {
    const page = await watch(await browser.newPage());
    await page.clock.install({ time: Date.now() });
    await page.goto(`${origin}/inbox`);
    await page.getByText('Live', { exact: true }).waitFor();
    await send(english);
    await page.getByText('just now').waitFor();
    await page.clock.runFor(60_000 * 3);
    await page.getByText('3 min. ago').waitFor();
  });

  it('copies the code with one click and says so', async () => {
    const page = await open({ permissions: ['clipboard-read', 'clipboard-write'] });
    await send(english);
    await page.getByRole('button', { name: 'Copy code 123456' }).click();
    await page.getByRole('button', { name: 'Copied code 123456' }).waitFor();
    await page.getByRole('status').getByText('Copied code 123456').waitFor();
    expect(await clipboardOf(page)).toBe('123456');
  });

  it('copies without the clipboard API, which a plain http page under another name lacks', async () => {
    const page = await open({ permissions: ['clipboard-read'] }, async (context) => {
      await context.addInitScript('navigator.clipboard.writeText = () => Promise.reject(new Error("denied"))');
    });
    await send(english);
    await page.getByRole('button', { name: 'Copy code 123456' }).click();
    await page.getByRole('button', { name: 'Copied code 123456' }).waitFor();
    expect(await clipboardOf(page)).toBe('123456');
  });

  it('filters by any spelling of a number and keeps the filter in the address', async () => {
    const page = await open();
    for (const message of [english, uzbek, arabic]) await send(message);
    await page.getByRole('heading', { name: '3 messages' }).waitFor();
    for (const spelling of ['+966 50-123 45 67', '0501234567', '٠٥٠١٢٣٤٥٦٧']) {
      await page.getByLabel('Filter by number').fill(spelling);
      await page.getByRole('heading', { name: '1 of 3 messages' }).waitFor();
      expect(await headingsOf(page)).toEqual(['+966 50 123 4567']);
      expect(new URL(page.url()).searchParams.get('number')).toBe(spelling);
    }
    await page.reload();
    await page.getByRole('heading', { name: '1 of 3 messages' }).waitFor();
    await page.getByRole('button', { name: 'Clear the filter' }).click();
    await page.getByRole('heading', { name: '3 messages' }).waitFor();
    expect(page.url()).toBe(`${origin}/inbox`);
  });

  it('says that nothing matches the filter, and leads back', async () => {
    await send(english);
    const page = await open({}, undefined, '?number=777');
    await page.getByRole('heading', { name: 'No messages to 777' }).waitFor();
    await page.getByText('One message went to another number.').waitFor();
    await page.getByRole('button', { name: 'Show all messages' }).click();
    await page.getByRole('article').waitFor();
  });

  it('shows in the empty inbox what to run, at the address that the browser used', async () => {
    const page = await open({ permissions: ['clipboard-read', 'clipboard-write'] });
    const line = [
      `curl ${origin}/v1/verifications \\`,
      "  -H 'Content-Type: application/json' \\",
      `  -d '{"to":"+12125550123"}'`,
    ].join('\n');
    expect(await page.locator('pre').innerText()).toBe(line);
    await page.getByRole('button', { name: 'Copy the curl line' }).click();
    await page.getByRole('button', { name: 'Copied the curl line' }).waitFor();
    expect(await clipboardOf(page)).toBe(line);
  });

  it('clears all messages, in every window', async () => {
    await send(english);
    const [one, other] = [await open(), await open()];
    await other.getByRole('article').waitFor();
    await one.getByRole('button', { name: 'Clear all' }).click();
    for (const page of [one, other]) await page.getByRole('heading', { name: 'No messages yet' }).waitFor();
    expect(inbox.list()).toEqual([]);
  });

  it('sets right-to-left texts from the right, their numbers and codes from the left', async () => {
    const page = await open();
    await send(arabic);
    await page.getByText(arabic.text).waitFor();
    expect(await directionOf(page, 'article [lang=ar]')).toBe('rtl');
    expect(await directionOf(page, 'article h3 bdi')).toBe('ltr');
    expect(await directionOf(page, 'article p[dir=ltr]')).toBe('ltr');
  });

  it('can be used by keyboard alone', async () => {
    for (const message of [arabic, uzbek, english, codeless]) await send(message);
    const page = await open({ permissions: ['clipboard-read', 'clipboard-write'] });
    const focused = () => page.locator('article:focus h3').innerText();
    await page.keyboard.press('c');
    await page.getByRole('button', { name: 'Copied code 123456' }).waitFor();
    expect(await clipboardOf(page)).toBe('123456');

    await page.keyboard.press('j');
    expect(await focused()).toBe('+44 7700 900123');
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('j');
    expect(await focused()).toBe('+998 90 123 45 67');
    await page.keyboard.press('Enter');
    await page.getByRole('button', { name: 'Copied code 246810' }).waitFor();
    expect(await clipboardOf(page)).toBe('246810');
    await page.keyboard.press('ArrowUp');
    await page.keyboard.press('k');
    await page.keyboard.press('k');
    expect(await focused()).toBe('+44 7700 900123');

    await page.keyboard.press('/');
    await page.keyboard.type('966');
    await page.getByRole('heading', { name: '1 of 4 messages' }).waitFor();
    await page.keyboard.press('ArrowDown');
    expect(await focused()).toBe('+966 50 123 4567');
    await page.keyboard.press('Tab');
    expect(await page.locator('button:focus').getAttribute('aria-label')).toBe('Copy code 135790');
    await page.keyboard.press('Escape');
    await page.getByRole('heading', { name: '4 messages' }).waitFor();
  });

  it('leaves letters alone while somebody types, and for good when they are switched off', async () => {
    await send(english);
    const page = await open();
    await page.getByLabel('Filter by number').pressSequentially('cj/');
    expect(await page.getByLabel('Filter by number').inputValue()).toBe('cj/');
    await page.keyboard.press('Escape');
    await page.getByRole('article').waitFor();
    await page.getByRole('button', { name: 'Single-character keys: on' }).click();
    await page.reload();
    await page.getByRole('button', { name: 'Single-character keys: off' }).waitFor();
    await page.getByRole('article').waitFor();
    await page.keyboard.press('j');
    expect(await page.locator('article:focus').count()).toBe(0);
    await page.keyboard.press('ArrowDown');
    expect(await page.locator('article:focus').count()).toBe(1);
  });

  it('counts in the title what came while nobody looked', async () => {
    const page = await open();
    expect(await page.title()).toBe('Inbox · Countersign');
    await setVisibility(page, 'hidden');
    await send(english);
    await send(uzbek);
    await expect.poll(() => page.title()).toBe('(2) Inbox · Countersign');
    await setVisibility(page, 'visible');
    await expect.poll(() => page.title()).toBe('Inbox · Countersign');
  });

  it.each(['light', 'dark'] as const)('follows the system to %s colours and can be switched', async (colorScheme) => {
    const page = await open({ colorScheme });
    const brightness = () => page.evaluate('Number(/\\d+/.exec(getComputedStyle(document.body).backgroundColor)[0])');
    const isDark = async () => Number(await brightness()) < 128;
    expect(await isDark()).toBe(colorScheme === 'dark');
    await page.getByRole('button', { name: colorScheme === 'dark' ? 'Use light colours' : 'Use dark colours' }).click();
    expect(await isDark()).toBe(colorScheme === 'light');
    await page.reload();
    await page.getByText('Live', { exact: true }).waitFor();
    expect(await isDark()).toBe(colorScheme === 'light');
  });

  it.each(['light', 'dark'] as const)('has text of enough contrast in %s colours', async (colorScheme) => {
    for (const message of [arabic, uzbek, english, codeless]) await send(message);
    for (const query of ['', '?number=777']) {
      const page = await open({ colorScheme, reducedMotion: 'reduce' }, undefined, query);
      await page.getByRole('heading', { level: 2 }).first().waitFor();
      expect(await page.evaluate(findFaintTexts), query).toEqual([]);
    }
  });

  it.each([360, 1400])('fits a window %d pixels wide', async (width) => {
    await send({ ...english, text: `1234567890 ${'long'.repeat(60)} https://example.com/${'x'.repeat(100)}` });
    await send(arabic);
    const page = await open({ viewport: { width, height: 740 } });
    await page.getByRole('article').first().waitFor();
    const overflow = 'document.documentElement.scrollWidth - document.documentElement.clientWidth';
    expect(await page.evaluate(overflow)).toBe(0);
    await page.getByRole('button', { name: 'Clear all' }).click();
    await page.locator('pre').waitFor();
    expect(await page.evaluate(overflow)).toBe(0);
  });

  it('has no motion for those who asked for none', async () => {
    const page = await open({ reducedMotion: 'reduce' });
    await send(english);
    await page.getByRole('article').waitFor();
    expect(await page.evaluate('document.getAnimations().length')).toBe(0);
  });

  it('comes back after the server was restarted, and catches up', async () => {
    const page = await open();
    await send(english);
    await page.getByRole('article').waitFor();
    const { port } = app.server.address() as AddressInfo;
    await app.close();
    await page.getByText('Reconnecting …').waitFor();
    inbox = createInbox({ now: Date.now });
    await send(uzbek);
    app = await listen(port);
    await page.getByText('Live', { exact: true }).waitFor();
    await page.getByRole('heading', { name: '2 messages' }).waitFor();
    await send(arabic);
    await page.getByRole('heading', { name: '3 messages' }).waitFor();
    expect(await headingsOf(page)).toEqual(['+966 50 123 4567', '+998 90 123 45 67', '+1 212 555 0123']);
    // A refused connection is what this test is about, and the 503 of a server that is just stopping.
    complaints = complaints.filter((complaint) => !complaint.includes('net::ERR_') && !complaint.includes('503'));
  });

  it('comes back after a proxy answered in the place of the server', async () => {
    let isDown = true;
    const page = await open({}, async (context) => {
      await context.route('**/inbox/api/events', (route) =>
        isDown ? route.fulfill({ status: 502 }) : route.continue(),
      );
    });
    await page.getByText('Reconnecting …').waitFor();
    isDown = false;
    await page.getByText('Live', { exact: true }).waitFor();
    complaints = complaints.filter((complaint) => !complaint.includes('502'));
  });

  it('works behind a proxy that puts a path in front', async () => {
    const proxied = Fastify({ rewriteUrl: ({ url = '/' }) => url.replace(/^\/tools\/otp/, '') });
    await proxied.register(inboxRoutes(inbox, { pagesDirectory, example }));
    await proxied.listen({ port: 0, host: '127.0.0.1' });
    const { port } = proxied.server.address() as AddressInfo;
    const page = await watch(await browser.newPage());
    await page.goto(`http://127.0.0.1:${port}/tools/otp/inbox`);
    await page.getByText(`http://127.0.0.1:${port}/tools/otp/v1/verifications`).waitFor();
    await send(english);
    await page.getByRole('article').waitFor();
    await page.close();
    await proxied.close();
  });

  it('reads well without eyes: landmarks, headings, names', async () => {
    for (const message of [codeless, english]) await send(message);
    const page = await open();
    await page.getByRole('article').first().waitFor();
    const snapshot = await page.locator('body').ariaSnapshot();
    expect(snapshot.replace(/time: .*/g, 'time: …')).toMatchInlineSnapshot(`
      "- banner:
        - heading "Inbox" [level=1]
        - paragraph: Countersign · development mode
        - status: Live
        - button "Use dark colours"
      - main:
        - search:
          - textbox "Filter by number"
        - region "2 messages":
          - heading "2 messages" [level=2]
          - button "Clear all"
          - list:
            - listitem:
              - article "+1 212 555 0123":
                - heading "+1 212 555 0123" [level=3]
                - text: SMS English
                - time: …
                - paragraph: "123456"
                - button "Copy code 123456": Copy
                - paragraph: Your Countersign code is 123456.
            - listitem:
              - article "+44 7700 900123":
                - heading "+44 7700 900123" [level=3]
                - text: WhatsApp English
                - time: …
                - paragraph: Your driver is here.
      - contentinfo:
        - heading "Keyboard" [level=2]
        - term: /
        - definition: filter
        - term: c
        - definition: copy newest
        - term: ↓ ↑ j k
        - definition: move
        - term: Enter
        - definition: copy this
        - term: Esc
        - definition: clear filter
        - 'button "Single-character keys: on"'
      - status"
    `);
  });

  const example = () => ({ to: '+12125550123', url: 'http://localhost:8080/v1/verifications' });

  async function listen(port: number): Promise<FastifyInstance> {
    const server = Fastify();
    await server.register(inboxRoutes(inbox, { pagesDirectory, example }));
    await server.listen({ port, host: 'localhost' });
    return server;
  }

  async function open(
    options: BrowserContextOptions = {},
    prepare?: (context: Awaited<ReturnType<Browser['newContext']>>) => Promise<void>,
    query = '',
  ): Promise<Page> {
    const context = await browser.newContext(options);
    await prepare?.(context);
    const page = await watch(await context.newPage());
    await page.goto(`${origin}/inbox${query}`);
    if (prepare === undefined) await page.getByText('Live', { exact: true }).waitFor();
    return page;
  }

  async function watch(page: Page): Promise<Page> {
    page.on('console', (line) => void complaints.push(line.text()));
    page.on('pageerror', (error) => void complaints.push(error.message));
    await page.addInitScript(
      "addEventListener('securitypolicyviolation', (event) => console.error('policy', event.violatedDirective))",
    );
    return page;
  }

  let sent = 0;
  async function send(message: { to: string } & Partial<Omit<OutgoingMessage, 'to'>>) {
    sent += 1;
    const { to, ...more } = message;
    await inbox.send(
      {
        messageId: `msg_${sent}`,
        to: to as PhoneNumber,
        channel: 'sms',
        brand: 'Acme',
        locale: 'en',
        text: '',
        validitySeconds: 300,
        ...more,
      },
      new AbortController().signal,
    );
  }
});

const clipboardOf = (page: Page) => page.evaluate('navigator.clipboard.readText()');
// As text, because the tests are compiled without the DOM's types, which the server must not have.
const directionOf = (page: Page, selector: string) =>
  page.evaluate(`getComputedStyle(document.querySelector('${selector}')).direction`);
const headingsOf = (page: Page) => page.getByRole('heading', { level: 3 }).allInnerTexts();

/** Headless windows are always visible, so the page is told. */
async function setVisibility(page: Page, state: 'visible' | 'hidden') {
  await page.evaluate(`
    Object.defineProperty(document, 'visibilityState', { value: '${state}', configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  `);
}

/**
 * Runs in the page: texts under the contrast that WCAG 2.2, 1.4.3 asks for (4.5, large 3), each with what it has.
 * Backgrounds here are plain colours, so the nearest one that is not transparent is what stands behind a text.
 */
const findFaintTexts = `(() => {
  const channelsOf = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => {
    const [red, green, blue] = [r, g, b].map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const behind = (element) => {
    for (let at = element; at !== null; at = at.parentElement) {
      const color = channelsOf(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const texts = document.createTreeWalker(document.getElementById('root'), NodeFilter.SHOW_TEXT);
  const faint = [];
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    const style = getComputedStyle(element);
    const [lighter, darker] = [luminance(channelsOf(style.color)), luminance(behind(element))].sort((a, b) => b - a);
    const contrast = (lighter + 0.05) / (darker + 0.05);
    const size = Number.parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (contrast < (isLarge ? 3 : 4.5)) faint.push(texts.currentNode.textContent + ' ' + contrast.toFixed(2));
  }
  return faint;
})()`;
