// Shared by the browser tests: one Chromium, pages that record everything that goes wrong in them.
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const OUT = fileURLToPath(new URL('../out/', import.meta.url));
export const DESKTOP = { width: 1280, height: 800 };
export const PHONE = { width: 390, height: 844 };
const STEP_MS = 30_000;

export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
    timeout: 60_000,
  });
}

/** A fresh profile at `url`. `trouble` collects page errors, policy violations and requests to any other origin. */
export async function openPage(browser, url, { viewport = DESKTOP, locale = 'en-US', touch = false, scale = 1 } = {}) {
  const context = await browser.newContext({ viewport, locale, hasTouch: touch, isMobile: touch, deviceScaleFactor: scale });
  context.setDefaultTimeout(STEP_MS);
  const page = await context.newPage();
  const trouble = [];
  page.on('pageerror', (error) => trouble.push(`error: ${error.message}`));
  page.on('console', (message) => {
    if (/Content Security Policy/i.test(message.text())) trouble.push(`policy: ${message.text()}`);
  });
  page.on('request', (request) => {
    if (!request.url().startsWith(url) && !/^(?:data|blob):/.test(request.url())) trouble.push(`request: ${request.url()}`);
  });
  await page.goto(url);
  return { page, context, trouble };
}

export async function ask(page, text) {
  await page.locator('form.composer textarea').fill(text);
  await page.keyboard.press('Enter');
}

/** Waits until the answer under way, if any, has ended. */
export async function settled(page, timeout = STEP_MS) {
  await page.locator('.assistant[aria-busy="false"]').last().waitFor({ timeout });
  await page.waitForFunction(() => !document.querySelector('.assistant[aria-busy="true"]'), null, { timeout });
}

export async function shot(page, name) {
  mkdirSync(OUT, { recursive: true });
  await page.screenshot({ path: `${OUT}${name}.png` });
}
