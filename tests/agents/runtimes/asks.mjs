// An agent's program: asks a phone which service, and prints what it was told.
import process from "node:process";
import { CompanionClient } from "companion-ws";

const { COMPANION_URL, COMPANION_TOKEN, COMPANION_SESSION } = process.env;
const companion = new CompanionClient(COMPANION_URL, {
  token: COMPANION_TOKEN,
  sessionId: COMPANION_SESSION,
});
await companion.ready;
await companion.setState("step", 1);
const answer = await companion.callTool("companion_choose", {
  title: "Which service?",
  options: [
    { id: "ground", label: "FedEx Ground" },
    { id: "air", label: "UPS Next Day" },
  ],
});
console.log(JSON.stringify(answer));
companion.close();
