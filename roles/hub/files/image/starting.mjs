// Give no answer while the hub or the proxy starts, so that Apache shows its own page that the site is starting.
import ConfigurableProxy from "/opt/proxy/node_modules/configurable-http-proxy/lib/configproxy.js";

const HUB = `http://hub:8081${process.env.CARREL_BASE_URL || "/"}hub/api/proxy`;
const headers = { Authorization: `token ${process.env.CONFIGPROXY_AUTH_TOKEN}` };
const LOOK_MILLISECONDS = 1000;
const PATIENCE_MILLISECONDS = 60_000;

const { handleProxy } = ConfigurableProxy.prototype;
let hasRoutes = false;

ConfigurableProxy.prototype.handleProxy = function (kind, request, ...rest) {
  return hasRoutes ? handleProxy.call(this, kind, request, ...rest) : request.socket.destroy();
};

// While the hub starts, it cannot serve pages about errors, and the proxy itself would answer with only two words.
ConfigurableProxy.prototype._handleProxyErrorDefault = (code, kind, request) => request.socket.destroy();

// A new proxy has no routes to users' servers, and the hub checks routes only every five minutes. This request makes the hub
// set them before it answers. A hub that refuses has an older version, and will be replaced soon.
async function fetchRoutes() {
  try {
    const answer = await fetch(HUB, { method: "POST", headers, signal: AbortSignal.timeout(PATIENCE_MILLISECONDS) });
    hasRoutes = answer.ok;
    if (!hasRoutes) console.error(`the hub does not set the routes: ${answer.status}`);
  } catch {
    // The hub is starting, too.
  }
  if (!hasRoutes) setTimeout(fetchRoutes, LOOK_MILLISECONDS);
}

fetchRoutes();
