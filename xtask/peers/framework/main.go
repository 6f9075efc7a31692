// A provider on HashiCorp's framework that does what the kitchen sink's things do: the peer of `cargo xtask bench provider`.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"
	"path/filepath"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	providerschema "github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

type peer struct{ folder string }

type configuration struct {
	Folder types.String `tfsdk:"folder"`
}

func (p *peer) Metadata(_ context.Context, _ provider.MetadataRequest, answer *provider.MetadataResponse) {
	answer.TypeName = "peer"
}

func (p *peer) Schema(_ context.Context, _ provider.SchemaRequest, answer *provider.SchemaResponse) {
	answer.Schema = providerschema.Schema{Attributes: map[string]providerschema.Attribute{
		"folder": providerschema.StringAttribute{Required: true},
	}}
}

func (p *peer) Configure(ctx context.Context, request provider.ConfigureRequest, answer *provider.ConfigureResponse) {
	var given configuration
	answer.Diagnostics.Append(request.Config.Get(ctx, &given)...)
	p.folder = given.Folder.ValueString()
	answer.ResourceData = p
}

func (p *peer) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{func() resource.Resource { return &thing{} }}
}

func (p *peer) DataSources(context.Context) []func() datasource.DataSource { return nil }

type thing struct{ peer *peer }

type model struct {
	ID     types.String `tfsdk:"id"`
	Name   types.String `tfsdk:"name"`
	Size   types.String `tfsdk:"size"`
	Tags   types.Set    `tfsdk:"tags"`
	Labels types.Map    `tfsdk:"labels"`
	Pooler types.Object `tfsdk:"pooler"`
	Rules  types.List   `tfsdk:"rules"`
}

// kept is what stands in an object's file.
type kept struct {
	Name string `json:"name"`
	Size string `json:"size"`
}

func (t *thing) Metadata(_ context.Context, _ resource.MetadataRequest, answer *resource.MetadataResponse) {
	answer.TypeName = "peer_thing"
}

func (t *thing) Configure(_ context.Context, request resource.ConfigureRequest, _ *resource.ConfigureResponse) {
	if given, ok := request.ProviderData.(*peer); ok {
		t.peer = given
	}
}

func (t *thing) Schema(_ context.Context, _ resource.SchemaRequest, answer *resource.SchemaResponse) {
	keep := []planmodifier.String{stringplanmodifier.UseStateForUnknown()}
	answer.Schema = schema.Schema{Attributes: map[string]schema.Attribute{
		"id":     schema.StringAttribute{Computed: true, PlanModifiers: keep},
		"name":   schema.StringAttribute{Required: true, PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()}},
		"size":   schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString("small")},
		"tags":   schema.SetAttribute{Optional: true, ElementType: types.StringType},
		"labels": schema.MapAttribute{Optional: true, ElementType: types.StringType},
		"pooler": schema.SingleNestedAttribute{Optional: true, Attributes: map[string]schema.Attribute{
			"size": schema.Int64Attribute{Optional: true}, "mode": schema.StringAttribute{Optional: true},
		}},
		"rules": schema.ListNestedAttribute{Optional: true, NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
			"port": schema.Int64Attribute{Required: true}, "id": schema.StringAttribute{Optional: true},
		}}},
	}}
}

func (t *thing) file(id string) string { return filepath.Join(t.peer.folder, id+".json") }

func (t *thing) Create(ctx context.Context, request resource.CreateRequest, answer *resource.CreateResponse) {
	var planned model
	answer.Diagnostics.Append(request.Plan.Get(ctx, &planned)...)
	planned.ID = types.StringValue("thing-" + planned.Name.ValueString())
	text, err := json.Marshal(kept{Name: planned.Name.ValueString(), Size: planned.Size.ValueString()})
	if err == nil {
		err = os.WriteFile(t.file(planned.ID.ValueString()), text, 0o600)
	}
	if err != nil {
		answer.Diagnostics.AddError("The object cannot be kept", err.Error())
		return
	}
	answer.Diagnostics.Append(answer.State.Set(ctx, &planned)...)
}

func (t *thing) Read(ctx context.Context, request resource.ReadRequest, answer *resource.ReadResponse) {
	var state model
	answer.Diagnostics.Append(request.State.Get(ctx, &state)...)
	text, err := os.ReadFile(t.file(state.ID.ValueString()))
	var found kept
	if err != nil || json.Unmarshal(text, &found) != nil {
		answer.State.RemoveResource(ctx)
		return
	}
	state.Name, state.Size = types.StringValue(found.Name), types.StringValue(found.Size)
	answer.Diagnostics.Append(answer.State.Set(ctx, &state)...)
}

func (t *thing) Update(ctx context.Context, request resource.UpdateRequest, answer *resource.UpdateResponse) {
	var planned model
	answer.Diagnostics.Append(request.Plan.Get(ctx, &planned)...)
	answer.Diagnostics.Append(answer.State.Set(ctx, &planned)...)
}

func (t *thing) Delete(ctx context.Context, request resource.DeleteRequest, answer *resource.DeleteResponse) {
	var state model
	answer.Diagnostics.Append(request.State.Get(ctx, &state)...)
	if err := os.Remove(t.file(state.ID.ValueString())); err != nil && !os.IsNotExist(err) {
		answer.Diagnostics.AddError("It cannot be removed", err.Error())
	}
}

func main() {
	serve := providerserver.ServeOpts{Address: "registry.terraform.io/examples/peer"}
	if err := providerserver.Serve(context.Background(), func() provider.Provider { return &peer{} }, serve); err != nil {
		log.Fatal(err)
	}
}
