import { type Browser, chromium } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { type RunningServer, startServer } from '../http/running-server.ts';

const executablePath = inject('chromium');

// global-setup.ts says aloud why there is no browser; in CI it fails instead.
describe.skipIf(executablePath === null)('the API page', () => {
  let browser: Browser;
  let server: RunningServer;

  beforeAll(async () => {
    server = await startServer();
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
  afterAll(async () => {
    await browser.close();
    await server.close();
  });

  it('lists every operation, under its content policy, with nothing from elsewhere and no complaint', async () => {
    const complaints: string[] = [];
    const origins = new Set<string>();
    const page = await browser.newPage({ viewport: { width: 1280, height: 1000 } });
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('requestfailed', (request) => complaints.push(`${request.url()}: ${request.failure()?.errorText}`));
    page.on('response', (response) => {
      if (response.status() >= 400) complaints.push(`${response.status()} ${response.url()}`);
    });
    page.on('request', (request) => {
      if (!request.url().startsWith('data:')) origins.add(new URL(request.url()).origin);
    });
    const response = await page.goto(`${server.origin}/docs`);
    expect(response?.headers()['content-security-policy']).toContain("default-src 'none'");
    await page.getByText('Send a code', { exact: true }).waitFor();
    expect(await page.locator('.opblock').count()).toBe(26);
    expect(await page.title()).toBe('Countersign API');
    const start = page.locator('.opblock', { hasText: 'Send a code' }).first();
    await start.click();
    await start.locator('option', { hasText: 'application/problem+json' }).first().waitFor({ state: 'attached' });
    expect(await page.locator('.opblock-tag').allInnerTexts()).toEqual([
      'verifications',
      'messages',
      'numbers',
      'users',
      'routing',
      'usage',
      'reports',
      'system',
    ]);
    if (process.env['SCREENSHOT'] !== undefined)
      await page.screenshot({ path: process.env['SCREENSHOT'], fullPage: true });
    expect([...origins]).toEqual([server.origin]);
    expect(complaints).toEqual([]);
    await page.close();
  });

  it('sends a code when somebody presses Execute without having filled anything in', async () => {
    const page = await browser.newPage();
    await page.goto(`${server.origin}/docs`);
    const start = page.locator('.opblock', { hasText: 'Send a code' }).first();
    await start.click();
    await start.getByRole('button', { name: 'Execute' }).click();
    await start.locator('.live-responses-table .response-col_status', { hasText: '201' }).waitFor();
    expect(server.phone.sent).toMatchObject([{ to: '+998901234567' }]);
    await page.close();
  });
});
