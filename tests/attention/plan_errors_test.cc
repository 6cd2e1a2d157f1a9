// What a user reads when a plan is misspelt, out of range or contradicts itself: one sentence with the remedy.
#include <gtest/gtest.h>

#include "attention/made_registry.h"
#include "attention/plan/plan.h"

namespace loci {
namespace {

struct Wrong {
  const char* text;
  const char* message;  // behind "attention plan: "
};

void expect_messages(std::span<const Wrong> table, const Registry& registry) {
  for (const Wrong& row : table) {
    const Result<AttentionPlan> plan = AttentionPlan::parse(row.text, registry);
    ASSERT_FALSE(plan.ok()) << row.text << " parses as " << plan->canonical();
    EXPECT_EQ(plan.error().message, std::string("attention plan: ") + row.message) << row.text;
    EXPECT_EQ(plan.error().code, ErrorCode::kInvalidArgument);
  }
}

const Wrong kMisspelt[] = {
    {"", "it is empty; use 'dense'"},
    {"  ;; ", "it is empty; use 'dense'"},
    {"retian=snap", "there is no stage 'retian'; did you mean 'retain'?"},
    {"keep=snap", "there is no stage 'keep'; the stages are retain, store, select and mix"},
    {"retain=snpa", "'retain' has no method 'snpa'; did you mean 'snap'?"},
    {"retain=SNAP", "'retain' has no method 'SNAP'; did you mean 'snap'?"},
    {"store=kv5", "'store' has no method 'kv5'; did you mean 'kv8' or 'kv4'?"},
    {"store=bits", "'store' has no method 'bits'; 'store' takes kv16, kv8 or kv4"},
    {"streming", "there is no method or preset 'streming'; did you mean 'streaming'?"},
    {"fsat", "there is no method or preset 'fsat'; did you mean 'fast'?"},
    {"everything", "there is no method or preset 'everything'; 'loci methods' lists what there is"},
    {"snap(bugdet=12)", "snap has no parameter 'bugdet'; did you mean 'budget'?"},
    {"tokens(top=12)", "tokens has no parameter 'top'; it has k"},
    {"snap(pool=avg)", "pool of snap is 'avg', but must be one of mean, max (default max)"},
    {"snap(pool=mea)", "pool of snap is 'mea', but must be one of mean, max (default max); did you mean 'mean'?"},
    {"select=prefil:flex", "there is no phase 'prefil'; did you mean 'prefill'?"},
    {"select=always:flex", "there is no phase 'always'; the phases are prefill and decode"},
    {"snap(budget=64", "the '(' after 'snap' is not closed; add ')'"},
    {"snap(budget=)", "a value is missing in the parentheses of 'snap'; write budget=VALUE"},
    {"snap(64, 32)", "'32' of snap has no name; only the first value may go without: write NAME=32"},
    {"store=kv8 store=kv4", "'store=kv4' is not expected at character 11; put ';' between clauses"},
    {"retain=", "it ends too early after 'retain='; the name of a method belongs here"},
    {"retain=4", "'4' is not expected at character 8; the name of a method belongs here"},
    {"=snap",
     "'=snap' is not expected at character 1; a clause is a stage, '=' and a method, or the name of a method "
     "or preset"},
    {"duo@", "it ends too early after 'duo@'; after '@' come layers, as in '@4-27', or heads, as in '@:h0'"},
    {"duo@3:5", "'5' is not expected at character 7; heads are written ':h', as in '@4-27:h0,2'"},
};

const Wrong kOutOfRange[] = {
    {"snap(budget=0)", "budget of snap is '0', but must be a whole number in 1..1048576 (default 1024)"},
    {"snap(budget=many)", "budget of snap is 'many', but must be a whole number in 1..1048576 (default 1024)"},
    {"snap(budget=1e3)", "budget of snap is '1e3', but must be a whole number in 1..1048576 (default 1024)"},
    {"snap(kernel=4)", "kernel of snap is '4', but must be one of 1, 3, 5, ... 255 (default 7)"},
    {"duo(1.5)", "ratio of duo is '1.5', but must be a number in 0..1 (default 0.5)"},
    {"duo(nan)", "ratio of duo is 'nan', but must be a number in 0..1 (default 0.5)"},
    {"flex(gamma=0)", "gamma of flex is '0', but must be a number of at least 0.01 (default 0.95)"},
    {"snap(sinks=4)", "sinks of snap is '4', but must be true or false (default false)"},
    {"duo(profile=a b)", "profile of duo is 'a b', but must be a word of letters, digits and ._/:+- (default auto)"},
    {"snap(budget=16,window=64)", "in snap, window is 64, but must be below the budget of 16"},
    {"duo@27-4", "the range 27-4 runs backwards; write 4-27"},
    {"duo@70000", "no layer or head has the number 70000; the highest is 65535"},
    {"duo@99999999999999999999", "no layer or head has the number 99999999999999999999; the highest is 65535"},
};

const Wrong kIncompatible[] = {
    {"store=kv8;store=kv4", "'store' is given twice; put the answers into one clause, apart by commas and ranges"},
    {"snap(budget=64,budget=65)", "budget of snap is given twice; keep one"},
    {"retain=kv4", "'kv4' answers 'store', not 'retain'; write 'store=kv4'"},
    {"store=dense", "'dense' does not answer 'store'; 'store' takes kv16, kv8 or kv4"},
    {"kv4(8)", "kv4 takes no parameters; write 'kv4'"},
    {"select=decode:flex", "'flex' selects in prefill alone; write 'prefill:flex'"},
    {"select=prefill:recycle", "'recycle' selects in decode alone; write 'decode:recycle'"},
    {"retain=prefill:snap", "'retain' holds for both phases, so 'prefill:' cannot stand in it; leave it out"},
    {"store=kv8+kv4", "'+' joins methods in retain and mix alone, but stands in 'store'; name one method per range"},
    {"retain=snap+dense", "'dense' joined with another method is still dense; drop one of them"},
    {"retain=snap+snap", "'snap' is joined with itself; keep one"},
    {"retain=snap,duo", "'snap' and 'duo' both answer retain; give them ranges apart or join them with '+'"},
    {"retain=snap@0-5,duo@4-9",
     "'snap' and 'duo' both answer retain on layer 4; give them ranges apart or join them "
     "with '+'"},
    {"select=tokens,prefill:flex",
     "'tokens' and 'flex' both answer select in prefill; give them ranges apart or "
     "different phases"},
    {"store=kv4@0-3:h1", "kv4 decides for whole layers, so ':h1' cannot be; leave the heads out"},
    {"mix=gates@3-", "gates decides for the whole model, so '@3-' cannot be; leave the range out"},
    {"streaming; select=tokens@7",
     "'streaming' and 'tokens' do not compose (layer 7): a token outside the window "
     "cannot be selected; drop one of them or give them layers apart"},
    {"mix=calibrate@:h9; select=flex@2-4",
     "'flex' and 'calibrate' do not compose (layer 2): it needs whole rows; drop "
     "one of them or give them layers apart"},
    {"fast(3)",
     "'fast' is a preset and takes neither parameters nor a range; write out what it stands for: "
     "'select=prefill:flex,decode:tokens(k=1024)'"},
    {"dense@3", "'dense' on its own takes no parameters, '+' or range; name the stage, as in 'retain=dense@0-3'"},
};

TEST(AttentionPlanErrors, MisspeltPlans) { expect_messages(kMisspelt, test::MadeRegistry().registry); }
TEST(AttentionPlanErrors, ParametersOutOfRange) { expect_messages(kOutOfRange, test::MadeRegistry().registry); }
TEST(AttentionPlanErrors, IncompatibleAnswers) { expect_messages(kIncompatible, test::MadeRegistry().registry); }

// Each is one sentence that says what to write instead.
TEST(AttentionPlanErrors, OfTheProduct) {
  const Wrong table[] = {
      {"store=kv5", "'store' has no method 'kv5'; did you mean 'kv8' or 'kv4'?"},
      {"snapvk", "there is no method or preset 'snapvk'; did you mean 'snapkv'?"},
      {"retian=duo", "there is no stage 'retian'; did you mean 'retain'?"},
      {"retain=kv4", "'kv4' answers 'store', not 'retain'; write 'store=kv4'"},
      {"select=snapkv", "'snapkv' answers 'retain', not 'select'; write 'retain=snapkv'"},
      {"streaming(window=0)", "window of streaming is '0', but must be a whole number in 1..16777216 (default 1024)"},
      {"streaming(sinks=5000)", "sinks of streaming is '5000', but must be a whole number in 0..4096 (default 4)"},
      {"streaming(windw=10)", "streaming has no parameter 'windw'; did you mean 'window'?"},
      {"streaming(window=ten)",
       "window of streaming is 'ten', but must be a whole number in 1..16777216 (default 1024)"},
      {"streaming(4,256)", "'256' of streaming has no name; only the first value may go without: write NAME=256"},
      {"snapkv(budget=16,window=32)", "in snapkv, window is 32, but must be below the budget of 16"},
      {"snapkv(kernel=8)", "kernel of snapkv is '8', but must be one of 1, 3, 5, ... 255 (default 7)"},
      {"snapkv(pool=sum)", "pool of snapkv is 'sum', but must be one of mean, max (default max)"},
      {"snapkv(budget=1)", "budget of snapkv is '1', but must be a whole number in 2..16777216 (default 1024)"},
      {"duo(ratio=1.5)", "ratio of duo is '1.5', but must be a number in 0..1 (default 0.5)"},
      {"duo(ratio=-0.1)", "ratio of duo is '-0.1', but must be a number in 0..1 (default 0.5)"},
      {"duo(prefill=sparse)", "prefill of duo is 'sparse', but must be one of stream, dense (default stream)"},
      {"duo(source=gate)",
       "source of duo is 'gate', but must be one of auto, gates, retrieval (default auto); did you mean 'gates'?"},
      {"razor(window=0)", "window of razor is '0', but must be a whole number in 1..16777216 (default 4000)"},
      {"moa(density=0.5)", "moa has no parameter 'density'; it has profile"},
      {"task-kv(budget=2)", "budget of task-kv is '2', but must be a number in 0..1 (default 0.4)"},
      {"task-kv(beta=0.2,beta_last=0.5)", "in task-kv, beta_last is 0.5, but must be at most the beta of 0.2"},
      {"retain=task-kv+snapkv",
       "'task-kv' and 'snapkv' do not compose (layer 0): task-kv shares one budget out over a layer's heads; drop one "
       "of them or give them layers apart"},
      {"retain=razor+moa",
       "'razor' and 'moa' do not compose (layer 0): razor's compensation entry stands for what the head drops, and "
       "would count what the other keeps a second time; drop one of them or give them layers apart"},
      {"task-kv@2:h1", "task-kv decides for whole layers, so ':h1' cannot be; leave the heads out"},
      {"store=kv4@0-3:h1", "kv4 decides for whole layers, so ':h1' cannot be; leave the heads out"},
      {"store=kv8; store=kv4", "'store' is given twice; put the answers into one clause, apart by commas and ranges"},
      {"store=kv4,kv8", "'kv4' and 'kv8' both answer store; give them ranges apart"},
      {"flexprefill(gamma=2)", "gamma of flexprefill is '2', but must be a number in 0.01..1.1 (default 0.9)"},
      {"flexprefill(block=100)",
       "block of flexprefill is '100', but must be one of 64, 128, 192, ... 1024 (default 128)"},
      {"flexprefill(block=192)", "in flexprefill, block is 192, but must be a power of two"},
      {"flexprefill(block=128,cell=320)", "in flexprefill, cell is 320, but must be a multiple of the block of 128"},
      {"select=decode:flexprefill", "'flexprefill' selects in prefill alone; write 'prefill:flexprefill'"},
      {"anchor(step=0)", "step of anchor is '0', but must be a whole number in 1..64 (default 16)"},
      {"anchor(tail=none)", "tail of anchor is 'none', but must be one of dense, sparse (default dense)"},
      {"select=prefill:tokenselect", "'tokenselect' selects in decode alone; write 'decode:tokenselect'"},
      {"tokenselect(k=0)", "k of tokenselect is '0', but must be a whole number in 1..16777216 (default 2048)"},
      {"tokenselect(estimate=mean)",
       "estimate of tokenselect is 'mean', but must be one of exact, pooled (default exact)"},
      {"tokenselect(positions=new)",
       "positions of tokenselect is 'new', but must be one of true, renumber (default true)"},
      {"recycled(stride=0)", "stride of recycled is '0', but must be a whole number in 1..1048576 (default 50)"},
      {"recycled(schedule=never)", "schedule of recycled is 'never', but must be one of fixed, query (default fixed)"},
      {"select=prefill:flexprefill,prefill:anchor",
       "'flexprefill' and 'anchor' both answer select in prefill; give them ranges apart or different phases"},
      {"mix=act; select=decode:tokenselect",
       "'tokenselect' and 'act' do not compose (layer 0): a sink's share is one of all that a head keeps, not of a "
       "selection; drop one of them or give them layers apart"},
      {"act(beta=2)", "beta of act is '2', but must be a number in 0..1 (default 0.4)"},
      {"act(tau=0)", "tau of act is '0', but must be a number in 0.001..1 (default 0.1)"},
      {"ph3(use=both)", "use of ph3 is 'both', but must be one of context, memory (default context)"},
      {"retain=duo(ratio=0.5)@3-1", "the range 3-1 runs backwards; write 1-3"},
      {"retain=duo@x",
       "'x' is not expected at character 12; after '@' come layers, as in '@4-27', or heads, as in '@:h0'"},
      {"retain=duo(ratio=0.5", "the '(' after 'duo' is not closed; add ')'"},
      {"retain=", "it ends too early after 'retain='; the name of a method belongs here"},
      {"mix=snapkv", "'snapkv' answers 'retain', not 'mix'; write 'retain=snapkv'"},
  };
  expect_messages(table, built_in_registry());
}

TEST(AttentionPlanErrors, HostileTextIsBounded) {
  EXPECT_EQ(AttentionPlan::parse(std::string(20000, ';')).error().message,
            "attention plan: it has 20000 characters, but at most 16384 are read");
  std::string ranges = "duo@0";
  for (int i = 1; i < 66; ++i) ranges += "," + std::to_string(2 * i);
  EXPECT_EQ(AttentionPlan::parse(ranges, test::MadeRegistry().registry).error().message,
            "attention plan: it names more than 64 ranges of layers and heads; name fewer or wider ones");
  const std::string odd = AttentionPlan::parse("retain=sn\x1b[31m\nap").error().message;
  EXPECT_EQ(odd.find('\x1b'), std::string::npos);
  EXPECT_EQ(odd.find('\n'), std::string::npos);
}

TEST(AttentionPlanErrors, ExclusionsHoldOnSharedHeadsAlone) {
  const test::MadeRegistry made;
  for (const char* text : {"streaming@0-3; select=tokens@4-", "retain=streaming,dense@4-; select=tokens@4-",
                           "mix=calibrate@0; select=flex@1"}) {
    EXPECT_TRUE(AttentionPlan::parse(text, made.registry).ok()) << text;
  }
  EXPECT_FALSE(AttentionPlan::parse("retain=streaming,dense@4:h0; select=tokens@4-", made.registry).ok());
}

}  // namespace
}  // namespace loci
